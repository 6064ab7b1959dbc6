"""Camera motion: the homography of the ground, whatever moves in front of it, and the words where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tasks.track.camera import FrameMotion, grid_points, measure_camera, project, spread_corners
from tasks.track.estimators.klt import make_estimator
from tasks.track.motion import PointMotion, PointQuery, no_motion
from tests.tasks.track.conftest import moving_square, textured

PAN = np.array([[1.01, 0.004, 3.0], [-0.006, 0.99, -2.0], [1e-5, -2e-5, 1.0]])


def exact(points: np.ndarray, homography: np.ndarray = PAN) -> PointMotion:
    """Points (N, 2) float32 that move by a homography, found without error."""
    places = project(homography, points).astype(np.float32)
    return PointMotion(places, np.zeros(len(points), np.float32), np.ones(len(points), bool))


def camera_of(points: np.ndarray, motion: PointMotion) -> FrameMotion:
    found = measure_camera(points, motion)
    assert isinstance(found, FrameMotion)
    return found


@pytest.mark.parametrize("spread", [spread_corners, lambda grey: grid_points(*grey.shape)], ids=["corners", "grid"])
def test_the_camera_is_found_behind_a_moving_square(spread) -> None:  # type: ignore[no-untyped-def]
    before, after = (frame[:, :, 0] for frame in moving_square(2, speed=5, camera=3))
    points = spread(before)
    (found,) = make_estimator().follow([PointQuery(before, after, points)])
    motion = camera_of(points, found)
    assert np.allclose(project(motion.homography, np.array([[160, 120], [10, 10]])), [[157, 120], [7, 10]], atol=0.1)
    speed = np.linalg.norm(motion.residual, axis=1)
    inner = ((motion.points > (32, 88)) & (motion.points < (98, 152))).all(axis=1)
    outer = ((motion.points < (15, 70)) | (motion.points > (115, 170))).any(axis=1)
    assert inner.any()
    assert np.median(speed[inner]) == pytest.approx(8, abs=0.2)
    assert np.percentile(speed[outer], 95) < 0.3


def test_a_homography_is_found_exactly_though_two_in_five_points_go_their_own_way() -> None:
    points = grid_points(240, 320)
    motion = exact(points)
    own = np.arange(len(points)) % 5 < 2
    moved = PointMotion(motion.points + 8 * own[:, None].astype(np.float32), motion.error_px, motion.found)
    found = camera_of(points, moved)
    assert np.allclose(project(found.homography, points), project(PAN, points), atol=0.01)
    residual = np.linalg.norm(found.residual, axis=1)
    assert np.allclose(residual[own], np.hypot(8, 8), atol=0.05)
    assert residual[~own].max() < 0.05


def test_points_that_do_not_find_back_are_left_out() -> None:
    points = grid_points(240, 320)
    motion = exact(points)
    error = np.where(np.arange(len(points)) % 3 == 0, 1.5, 0.9).astype(np.float32)
    error[1] = np.inf
    found = camera_of(points, PointMotion(motion.points, error, motion.found))
    kept = error < 1
    assert np.array_equal(found.points, motion.points[kept])
    assert len(found.residual) == kept.sum()


def test_why_there_is_no_camera_motion() -> None:
    points = grid_points(240, 320)
    motion = exact(points)
    assert measure_camera(points[:0], no_motion()) == "no_points"
    assert measure_camera(points[:15], motion.part(slice(0, 15))) == "no_points"
    lost = PointMotion(motion.points, np.full(len(points), np.inf, np.float32), np.zeros(len(points), bool))
    assert measure_camera(points, lost) == "no_points"
    # Random motion, all points in one place, and a camera that grows the picture threefold between two frames.
    noise = np.random.default_rng(0).uniform(0, 300, points.shape).astype(np.float32)
    assert measure_camera(points, PointMotion(noise, motion.error_px, motion.found)) == "no_homography"
    one_place = np.full_like(points, 7)
    assert measure_camera(one_place, PointMotion(one_place, motion.error_px, motion.found)) == "no_homography"
    assert measure_camera(points, exact(points, np.diag([1.8, 1.8, 1.0]))) == "no_homography"
    assert isinstance(measure_camera(points, exact(points, np.diag([1.3, 1.3, 1.0]))), FrameMotion)


def test_projection_is_opencvs_and_a_points_own() -> None:
    points = np.random.default_rng(1).uniform(-50, 400, (7, 9, 2))
    expected = cv2.perspectiveTransform(points.reshape(-1, 1, 2), PAN).reshape(points.shape)
    assert np.allclose(project(PAN, points), expected, atol=1e-9)
    for place in range(7):
        assert np.array_equal(project(PAN, points)[place], project(PAN, points[place]))
        assert np.array_equal(project(PAN, points)[place, 3:4], project(PAN, points[place, 3:4]))


@pytest.mark.parametrize(("height", "width"), [(240, 320), (1, 1), (9, 700), (448, 252)])
def test_grid_points_lie_evenly_inside_the_frame(height: int, width: int) -> None:
    points = grid_points(height, width)
    assert points.shape == (126, 2)
    assert points.dtype == np.float32
    assert (points > 0).all()
    assert (points < (width, height)).all()
    assert points.mean(axis=0) == pytest.approx((width / 2, height / 2), rel=1e-5)


def test_a_flat_frame_has_no_corner() -> None:
    flat = np.full((120, 160), 90, np.uint8)
    assert spread_corners(flat).shape == (0, 2)
    assert spread_corners(np.zeros((1, 1), np.uint8)).shape == (0, 2)


def test_corners_are_balanced_over_the_frame() -> None:
    grey = textured(3, 128, 256).astype(np.uint8)
    grey[:, 128:] = 100 + grey[:, 128:] // 12  # the right half has far weaker corners
    corners = spread_corners(grey)
    assert corners.dtype == np.float32
    assert (corners[:, 0] >= 128).mean() > 0.2
    cells = np.unique(corners // 16, axis=0, return_counts=True)[1]
    assert cells.max() <= 3
