"""Boxes, camera motion, proposals, cuts, gates and crops, each against known truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.track.boxes import Box, box_iou, visible_share
from tasks.track.camera import FrameMotion, measure_motion, spread_corners
from tasks.track.config import TrackConfig
from tasks.track.crops import context_crop, reflected_indices
from tasks.track.cuts import brightness_histogram, histogram_distance
from tasks.track.estimators.klt import follow_points
from tasks.track.follow import BoxStep
from tasks.track.gates import appearance_patch, correlation, frame_reason, step_reason
from tasks.track.proposals import propose_windows
from tests.tasks.track.conftest import moving_square, shifted, textured

whole = st.integers(-20, 60)
side = st.integers(1, 40)


@given(whole, whole, side, whole, whole, side)
def test_iou_is_that_of_counted_pixels(x: int, y: int, first: int, u: int, v: int, second: int) -> None:
    one, other = np.zeros((140, 140), bool), np.zeros((140, 140), bool)
    one[y + 20 : y + 20 + first, x + 20 : x + 20 + first] = True
    other[v + 20 : v + 20 + second, u + 20 : u + 20 + second] = True
    expected = (one & other).sum() / (one | other).sum()
    assert box_iou(Box(x, y, first), Box(u, v, second)) == pytest.approx(expected)


@given(whole, whole, side)
def test_the_visible_share_is_that_of_counted_pixels(x: int, y: int, length: int) -> None:
    canvas = np.zeros((140, 140), bool)
    canvas[y + 20 : y + 20 + length, x + 20 : x + 20 + length] = True
    assert visible_share(Box(x, y, length), 50, 30) == pytest.approx(canvas[20:50, 20:70].sum() / length**2)


def test_the_camera_is_found_behind_a_moving_square() -> None:
    before, after = (frame[:, :, 0] for frame in moving_square(2, speed=5, camera=3))
    motion = measure_motion(before, after, follow_points)
    assert isinstance(motion, FrameMotion)
    where = cv2.perspectiveTransform(np.float32([[[160, 120]], [[10, 10]]]), motion.homography).reshape(-1, 2)
    assert np.allclose(where, [[157, 120], [7, 10]], atol=0.1)
    speed = np.linalg.norm(motion.residual, axis=1)
    inner = ((motion.points > (32, 88)) & (motion.points < (98, 152))).all(axis=1)
    outer = ((motion.points < (15, 70)) | (motion.points > (115, 170))).any(axis=1)
    assert np.median(speed[inner]) == pytest.approx(8, abs=0.2)
    assert np.percentile(speed[outer], 95) < 0.3


def test_a_flat_frame_has_no_points() -> None:
    flat = np.full((120, 160), 90, np.uint8)
    assert len(spread_corners(flat)) == 0
    assert measure_motion(flat, flat, follow_points) == "no_points"


def test_corners_are_balanced_over_the_frame() -> None:
    grey = textured(3, 128, 256).astype(np.uint8)
    grey[:, 128:] = 100 + grey[:, 128:] // 12  # the right half has far weaker corners
    corners = spread_corners(grey)
    assert (corners[:, 0] >= 128).mean() > 0.2
    cells = np.unique(corners // 16, axis=0, return_counts=True)[1]
    assert cells.max() <= 3


def test_windows_lie_on_what_moves_and_hardly_overlap() -> None:
    rng = np.random.default_rng(0)
    still = rng.uniform(0, (320, 240), (300, 2))
    things = [rng.normal(centre, 8, (40, 2)) for centre in ((80, 60), (240, 170))]
    points = np.concatenate([still, *things]).astype(np.float32)
    moving = np.arange(len(points)) >= 300
    residual = np.where(moving[:, None], (3.0, 0.0), (0.0, 0.0)).astype(np.float32)
    found = propose_windows(FrameMotion(points, residual, np.eye(3)), moving, (320, 240), 72, 5)
    centres = sorted(proposal.box.centre for proposal in found)
    assert np.allclose(centres, [(80, 60), (240, 170)], atol=4)
    assert all(proposal.box.side == 72 and 0.5 < proposal.moving_share <= 1 for proposal in found)
    assert len(propose_windows(FrameMotion(points, residual, np.eye(3)), moving, (320, 240), 72, 1)) == 1


def test_a_window_between_two_things_settles_on_one_and_follows_its_motion() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal((100, 100), 5, (40, 2)), rng.normal((150, 100), 5, (25, 2))
    points = np.concatenate([left, right]).astype(np.float32)
    residual = np.repeat(np.float32([[4, 0], [-4, 0]]), (40, 25), axis=0)
    motion = FrameMotion(points, residual, np.eye(3))
    first = propose_windows(motion, np.ones(65, bool), (320, 240), 72, 1)[0]
    assert np.allclose(first.box.centre, (100, 100), atol=5)
    assert (first.points[:, 0] < 125).all()


def test_windows_stay_inside_small_frames_and_need_enough_points() -> None:
    points = np.float32([[x, y] for x in range(0, 40, 8) for y in range(0, 30, 8)])
    motion = FrameMotion(points, np.ones_like(points), np.eye(3))
    (found,) = propose_windows(motion, np.ones(len(points), bool), (40, 30), 72, 1)
    assert found.box.side == 30
    assert 0 <= found.box.x <= 10
    assert found.box.y == 0
    assert propose_windows(motion, np.arange(len(points)) < 5, (40, 30), 72, 1) == []


def test_two_shots_are_far_apart_and_a_pan_is_not() -> None:
    one, other = textured(1, 240, 400), 255 * (textured(9, 240, 400) / 255) ** 3
    first, pan = shifted(one, 0, 0, 1, (320, 240)), shifted(one, -6, 0, 1, (320, 240))
    second = shifted(other, 0, 0, 1, (320, 240))
    near = histogram_distance(brightness_histogram(first), brightness_histogram(pan))
    far = histogram_distance(brightness_histogram(first), brightness_histogram(second))
    assert near < 0.1 < TrackConfig().cut_threshold < far
    black, white = np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)
    assert histogram_distance(brightness_histogram(black), brightness_histogram(white)) == pytest.approx(1)
    assert brightness_histogram(np.zeros((2, 3), np.uint8)).shape[0] == 16


def test_frames_with_too_little_or_too_much_motion_are_rejected() -> None:
    config = TrackConfig(min_moving_share=0.25, max_moving_share=0.75)
    shares = {"too_few_moving": 24, "": 25, "too_many_moving": 76}
    for reason, num in shares.items():
        assert frame_reason(np.arange(100) < num, config) == reason
    assert frame_reason(np.arange(100) < 75, config) == ""


def test_steps_are_gated_by_place_loss_and_error() -> None:
    config = TrackConfig(fb_threshold_px=1)
    inside, outside = Box(10, 10, 40), Box(-20, 10, 40)
    assert step_reason(BoxStep(inside, 0.5, True), (100, 100), config) == ""
    assert step_reason(BoxStep(outside, 0.5, True), (100, 100), config) == "out_of_frame"
    assert step_reason(BoxStep(inside, np.inf, False), (100, 100), config) == "lost"
    assert step_reason(BoxStep(inside, 1.5, True), (100, 100), config) == "forward_backward"
    assert step_reason(BoxStep(inside, 1.5, True), (100, 100), TrackConfig(fb_threshold_px=0)) == ""


def test_correlation_is_numpys() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(32, 32)).astype(np.float32)
    other = (one + rng.normal(size=(32, 32))).astype(np.float32)
    assert correlation(one, other) == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=1e-5)
    assert correlation(one, 3 * one + 7) == pytest.approx(1, abs=1e-5)
    assert correlation(one, -one) == pytest.approx(-1, abs=1e-5)
    assert correlation(one, np.ones_like(one)) == 0


def test_the_appearance_patch_is_the_window() -> None:
    grey = textured(4, 100, 120).astype(np.uint8)
    assert np.array_equal(appearance_patch(grey, Box(30, 20, 32)), grey[20:52, 30:62])


@given(st.integers(-300, 300), st.integers(1, 80), st.integers(1, 40))
def test_reflection_is_opencvs(start: int, count: int, length: int) -> None:
    expected = [cv2.borderInterpolate(at, length, cv2.BORDER_REFLECT_101) for at in range(start, start + count)]
    assert reflected_indices(start, count, length).tolist() == expected


def test_a_crop_holds_the_box_and_its_context_in_colour() -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[60:100, 100:140] = (200, 40, 90)
    crop = cv2.imdecode(np.frombuffer(context_crop(frame, (100, 60, 40, 40)), np.uint8), cv2.IMREAD_COLOR)
    assert crop.shape == (60, 60, 3)
    assert np.abs(crop[30, 30].astype(int) - (90, 40, 200)).max() < 12
    assert crop[4:6, 4:6].max() < 12


def test_a_crop_at_the_corner_is_reflected_and_a_large_one_is_scaled() -> None:
    frame = textured(6, 900, 1000).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    corner = cv2.imdecode(np.frombuffer(context_crop(frame, (0, 0, 40, 40)), np.uint8), cv2.IMREAD_GRAYSCALE)
    expected = cv2.copyMakeBorder(frame[:, :, 0], 10, 0, 10, 0, cv2.BORDER_REFLECT_101)[:60, :60]
    assert np.abs(corner.astype(int) - expected).mean() < 3
    large = cv2.imdecode(np.frombuffer(context_crop(frame, (100, 100, 600, 600)), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert large.shape == (512, 512)
