"""Followers: boxes that move with the points inside them, and by a filter of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.track.boxes import Box, box_iou, square
from tasks.track.follow import PointFollower, _scale_step, _weighted_median
from tasks.track.motion import PointMotion
from tests.tasks.track.conftest import moving_square, shifted, textured
from tests.tasks.track.walking import walk, working

SIZE = (200, 160)
every_estimator = pytest.mark.parametrize("name", ["dis", "farneback", "klt"])
every_follower = pytest.mark.parametrize("name", ["dis", "farneback", "klt", "kcf"])


def plane(x: float, y: float, scale: float = 1.0) -> np.ndarray:
    """A frame of a textured plane: (160, 200) uint8."""
    return shifted(textured(5, 260, 320), x - 30, y - 30, scale, SIZE)


def scene(time: int, scale: float = 1.0, pole_px: float | None = None) -> np.ndarray:
    """A square with its centre at (60 + 2 * time, 120) and a side of 80 * scale over a ground that pans, (240, 320).

    `pole_px`: the left edge of a textured pole, 24 px wide, in front of everything.
    """
    frame = shifted(textured(1, 400, 600), -0.5 * time - 40, -40, 1, (320, 240)).astype(np.float32)
    corner = (60 + 2 * time - 40 * scale, 120 - 40 * scale)
    frame = over(frame, textured(2, 80, 80), scale, corner)
    frame = frame if pole_px is None else over(frame, textured(7, 240, 24), 1, (pole_px, 0))
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def over(frame: np.ndarray, thing: np.ndarray, scale: float, corner: tuple[float, float]) -> np.ndarray:
    matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]], np.float32)
    seen, cover = (cv2.warpAffine(array, matrix, (320, 240)) for array in (thing, np.ones_like(thing)))
    mixed: np.ndarray = cover * seen + (1 - cover) * frame
    return mixed


def centre_error(box: Box, x: float, y: float) -> float:
    return float(np.hypot(box.centre[0] - x, box.centre[1] - y))


@every_follower
def test_boxes_follow_a_translation_over_many_frames_in_one_pass(name: str) -> None:
    greys = [plane(1.5 * time, -1.0 * time) for time in range(13)]
    starts = {1: (0, square(40, 60, 48)), 2: (0, Box(90, 70, 40, 36))}
    steps = walk(greys, starts, {1: 11}, name)
    assert [set(step) for step in steps] == [{1, 2}] * 11 + [{2}]
    assert all(step.found for frame in steps for step in frame.values())
    for number, frame in ((1, 10), (2, 11)):
        box, gone = starts[number][1], frame + 1
        expected = Box(box.x + 1.5 * gone, box.y - gone, box.width, box.height)
        assert box_iou(steps[frame][number].box, expected) > 0.85


@every_follower
def test_boxes_stay_where_nothing_moves(name: str) -> None:
    box = square(60, 50, 50)
    step = walk([plane(0, 0)] * 6, {1: (0, box)}, name=name)[-1][1]
    assert box_iou(step.box, box) > 0.95
    if name != "kcf":
        assert step.error_px < 0.1
        assert step.agreement > 0.9
        assert step.jolt_px < 0.1


@every_follower
def test_equal_frames_give_equal_boxes(name: str) -> None:
    greys = [plane(2.2 * time, 0.7 * time, 1 + 0.01 * time) for time in range(5)]
    runs = [walk(greys, {1: (0, square(50, 50, 50))}, name=name) for _ in range(2)]
    # As words, since what a box tracker does not measure is NaN.
    assert repr(runs[0]) == repr(runs[1])


@pytest.mark.parametrize("side", [60, 72, 80])
def test_a_box_stays_on_a_square_over_a_ground_that_pans(side: int) -> None:
    greys = [frame[:, :, 0] for frame in moving_square(31)]
    corner = (80 - side) / 2
    step = walk(greys, {1: (0, square(20 + corner, 80 + corner, side))})[-1][1]
    assert step.found
    assert centre_error(step.box, 120, 120) < 1.5
    assert step.box.width == pytest.approx(side, rel=0.05)
    assert step.box.height == pytest.approx(step.box.width)
    assert step.agreement > 0.9
    assert step.jolt_px < 0.5


@pytest.mark.parametrize("growth", [1.008, 0.992])
def test_a_box_grows_and_shrinks_with_what_it_holds(growth: float) -> None:
    greys = [scene(time, growth**time) for time in range(31)]
    step = walk(greys, {1: (0, square(24, 84, 72))})[-1][1]
    assert step.box.width == pytest.approx(72 * growth**30, rel=0.08)
    assert centre_error(step.box, 120, 120) < 4


@every_estimator
def test_a_plane_that_grows_grows_its_box_a_little_less(name: str) -> None:
    box, grown = square(60, 50, 60), 1.015**16
    step = walk([plane(0, 0, 1.015**time) for time in range(17)], {1: (0, box)}, name=name, camera=False)[-1][1]
    assert box.width * (1 + 0.5 * (grown - 1)) < step.box.width < box.width * grown * 1.05


def test_no_box_grows_past_twice_its_first_size() -> None:
    greys = [plane(-8 * time, -6 * time, 1.04**time) for time in range(34)]
    sizes = [step[1].box.width for step in walk(greys, {1: (0, square(70, 50, 60))}, camera=False)]
    assert max(sizes) <= 120 + 1e-6


@pytest.mark.parametrize("speed", [-6, -4, -3])
def test_a_box_keeps_to_its_square_while_a_pole_sweeps_over_it(speed: int) -> None:
    greys = [scene(time, pole_px=170 + speed * time) for time in range(41)]
    steps = [step[1] for step in walk(greys, {1: (0, square(24, 84, 72))})]
    worst = max(centre_error(step.box, 62 + 2 * time, 120) for time, step in enumerate(steps))
    assert worst < 0.15 * 72
    assert centre_error(steps[-1].box, 140, 120) < 4
    assert min(step.agreement for step in steps) < 0.5, "the pole is seen"
    assert steps[-1].agreement > 0.9, "and that it has gone"


@pytest.mark.parametrize("offset", [(40, 0), (0, 40), (0, -40)])
def test_a_box_that_is_half_ground_goes_with_the_square(offset: tuple[int, int]) -> None:
    greys = [frame[:, :, 0] for frame in moving_square(31)]
    x, y = offset
    step = walk(greys, {1: (0, square(20 + x, 80 + y, 80))})[-1][1]
    # It may come nearer to the square, which is its figure, never drift away with the ground (15 px, leftwards).
    away = np.array(step.box.centre) - (120, 120)
    towards = 1 - away @ offset / (x * x + y * y)
    across = abs(away[0] * y - away[1] * x) / np.hypot(x, y)
    assert -0.04 < towards < 0.55
    assert across < 1.5


@pytest.mark.parametrize("name", ["klt", "farneback"])
def test_boxes_that_come_and_go_leave_the_others_alone(name: str) -> None:
    greys = [scene(time, pole_px=150 - 4 * time) for time in range(16)]
    starts = {1: (0, square(24, 84, 72)), 2: (3, square(120, 20, 40)), 3: (5, square(200, 150, 64.5))}
    starts |= {4: (5, Box(-20, 90, 60, 60)), 5: (9, square(40, 90, 50))}
    stops = {2: 8, 3: 12, 4: 11}
    together = walk(greys, starts, stops, name)
    assert [set(step) for step in together[7:9]] == [{1, 2, 3, 4}, {1, 3, 4}]
    for number in starts:
        alone = walk(greys, {number: starts[number]}, {number: stops[number]} if number in stops else {}, name)
        assert [step[number] for step in alone if step] == [step[number] for step in together if number in step]


def test_a_box_is_followed_without_the_cameras_motion() -> None:
    greys = [frame[:, :, 0] for frame in moving_square(31)]
    step = walk(greys, {1: (0, square(24, 84, 72))}, camera=False)[-1][1]
    assert step.found
    assert centre_error(step.box, 120, 120) < 1.5


def lost(num: int) -> PointMotion:
    return PointMotion(np.zeros((num, 2), np.float32), np.full(num, np.inf, np.float32), np.zeros(num, bool))


def moved(points: np.ndarray, shift: Sequence[float]) -> PointMotion:
    """All points found exactly."""
    places = (points + np.asarray(shift)).astype(np.float32)
    return PointMotion(places, np.zeros(len(points), np.float32), np.ones(len(points), bool))


@pytest.mark.parametrize("camera", [None, (1.0, -2.0)])
def test_a_box_without_points_goes_on_as_before(camera: tuple[float, float] | None) -> None:
    follower, frame = PointFollower(), working(0, plane(0, 0))
    pan = np.eye(3)
    pan[:2, 2] = camera or (0, 0)
    homography = None if camera is None else pan
    follower.start(1, frame, square(60, 50, 40))
    for _ in range(3):
        follower.step(frame, moved(follower.points(), (3, 1)), homography)
    for number in range(1, 4):
        step = follower.step(frame, lost(len(follower.points())), homography)[1]
        assert not step.found
        assert step.error_px == np.inf
        assert step.agreement == step.jolt_px == 0
        assert astuple(step.box) == pytest.approx((69 + 3 * number, 53 + number, 40, 40))
    step = follower.step(frame, moved(follower.points(), (3, 1)), homography)[1]
    assert step.found
    assert step.box.centre == pytest.approx((101, 77), abs=1e-3)


def test_a_box_that_is_lost_at_once_stays_where_it_is() -> None:
    follower, frame = PointFollower(), working(0, plane(0, 0))
    follower.start(1, frame, square(60, 50, 40))
    step = follower.step(frame, lost(len(follower.points())), np.eye(3))[1]
    assert (step.box, step.found) == (square(60, 50, 40), False)
    assert np.isfinite(step.jolt_px)


def test_noise_in_the_next_frame_is_faint() -> None:
    noise = np.random.default_rng(3).integers(0, 255, SIZE[::-1], dtype=np.uint8)
    step = walk([plane(0, 0), noise], {1: (0, square(60, 50, 60))})[-1][1]
    assert step.agreement < 0.1


def test_a_box_outside_the_frame_has_no_points() -> None:
    step = walk([plane(0, 0)] * 3, {1: (0, square(-300, 50, 60))})[-1][1]
    assert (step.found, step.agreement) == (False, 0.0)
    assert box_iou(step.box, square(-300, 50, 60)) > 0.999


def test_without_boxes_there_is_nothing_to_do() -> None:
    follower = PointFollower()
    assert follower.points().shape == (0, 2)
    assert follower.step(working(0, plane(0, 0)), lost(0), np.eye(3)) == {}
    with pytest.raises(ValueError, match="1"):
        follower.stop(1)


def slow_weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The least value at which half of the weight is reached."""
    half, total = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        total += weight
        if total >= half:
            return value
    raise AssertionError("half of the weight is reached")


points = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 4)), min_size=1, max_size=12).filter(
    lambda found: any(weight for _, _, weight in found)
)


@given(st.lists(points, min_size=1, max_size=4))
def test_the_weighted_median_is_that_of_a_slow_search(boxes: list[list[tuple[int, int, int]]]) -> None:
    # Points of weight 0 fill the rows up: they count for nothing.
    num = max(map(len, boxes))
    filled = np.array([[*box, *[(99, -99, 0)] * (num - len(box))] for box in boxes], float)
    found = _weighted_median(filled[:, :, :2], filled[:, :, 2])
    for row, box in zip(found, boxes, strict=True):
        weighted = [entry for entry in box if entry[2]]
        for axis in range(2):
            expected = slow_weighted_median([entry[axis] for entry in weighted], [entry[2] for entry in weighted])
            assert row[axis] == expected


TRUST = 0.7  # of a frame's change of size


@settings(max_examples=50)
@given(
    st.floats(0.965, 1.035),
    st.floats(-0.3, 0.3),
    st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    st.integers(0, 2**32 - 1),
)
def test_the_change_of_size_is_that_of_the_similarity(
    scale: float, angle: float, shift: tuple[float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    before = rng.uniform(0, 80, (3, 40, 2)) + 100
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    after = before @ turn.T + np.array(shift)
    weight = rng.uniform(0.2, 1, (3, 40))
    assert _scale_step(before, after, weight) == pytest.approx(scale**TRUST, rel=1e-9)
    # Points without weight say nothing, wherever they are.
    after[:, :20] += rng.normal(0, 30, (3, 20, 2))
    weight[:, :20] = 0
    assert _scale_step(before, after, weight) == pytest.approx(scale**TRUST, rel=1e-9)


@settings(max_examples=30)
@given(st.floats(0.97, 1.03), st.integers(0, 2**32 - 1))
def test_a_few_points_that_go_another_way_hardly_change_the_size(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.uniform(0, 80, (2, 60, 2))
    after = before * scale + (3.0, -2.0)
    after[:, :6] += (2.5, 0.0)
    weight = np.ones((2, 60))
    assert _scale_step(before, after, weight) == pytest.approx(scale**TRUST, abs=0.01)


def test_a_change_of_size_is_bounded_and_needs_points() -> None:
    before = np.random.default_rng(0).uniform(0, 80, (1, 40, 2))
    assert _scale_step(before, 1.5 * before, np.ones((1, 40))) == pytest.approx(1.04**TRUST)
    assert _scale_step(before, 0.5 * before, np.ones((1, 40))) == pytest.approx(1.04**-TRUST)
    few = np.zeros((1, 40))
    few[0, :4] = 1
    assert _scale_step(before, 1.02 * before, few) == 1
    assert _scale_step(np.ones_like(before), np.ones_like(before), np.ones((1, 40))) == pytest.approx(1.04**-TRUST)
