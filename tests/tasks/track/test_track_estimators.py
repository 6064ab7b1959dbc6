"""One contract for every row of the registry: points by their motion, boxes by their follower."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tasks.track.boxes import Box, box_iou
from tasks.track.camera import spread_corners
from tasks.track.estimators import ESTIMATORS
from tasks.track.frames import WorkingFrame
from tasks.variants import load_variant
from tests.tasks.track.conftest import shifted, textured

SIZE = (200, 160)
MARGIN = 24
every_estimator = pytest.mark.parametrize("name", sorted(ESTIMATORS))


def frame(index: int, x: float, y: float, scale: float = 1.0) -> WorkingFrame:
    grey = shifted(textured(5, 260, 320), x - 30, y - 30, scale, SIZE)
    return WorkingFrame(index, index / 25, grey, np.repeat(grey[:, :, None], 3, axis=2), 1.0, 1.0)


def inner_corners(grey: np.ndarray) -> np.ndarray:
    corners = spread_corners(grey)
    inside = (corners > MARGIN).all(axis=1) & (corners < np.array(SIZE) - MARGIN).all(axis=1)
    return corners[inside]


@every_estimator
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (3.0, -2.0), (0.4, 1.3), (-6.0, 5.0)])
def test_points_follow_a_known_translation(name: str, x: float, y: float) -> None:
    estimator = load_variant(ESTIMATORS, name, "estimator")
    previous, following = frame(0, 0, 0).grey, frame(1, x, y).grey
    points = inner_corners(previous)
    motion = estimator.follow_points(previous, following, points)
    assert motion.points.dtype == motion.error_px.dtype == np.float32
    assert motion.points.shape == points.shape
    assert motion.found.mean() > 0.95
    distance = np.linalg.norm(motion.points - points - (x, y), axis=1)[motion.found]
    assert np.median(distance) < 0.1
    assert np.percentile(distance, 95) < 0.5
    assert np.median(motion.error_px) < 0.1


@every_estimator
def test_a_point_that_leaves_the_frame_is_not_found(name: str) -> None:
    estimator = load_variant(ESTIMATORS, name, "estimator")
    previous, following = frame(0, 0, 0).grey, frame(1, 8, 0).grey
    points = np.array([[SIZE[0] - 2, 80], [100, 80]], np.float32)
    motion = estimator.follow_points(previous, following, points)
    assert motion.found.tolist() == [False, True]
    assert np.isinf(motion.error_px[0])
    assert np.array_equal(motion.points[0], points[0])


@every_estimator
def test_no_points_give_no_motion(name: str) -> None:
    estimator = load_variant(ESTIMATORS, name, "estimator")
    grey = frame(0, 0, 0).grey
    motion = estimator.follow_points(grey, grey, np.zeros((0, 2), np.float32))
    assert motion.points.shape == (0, 2)
    assert motion.error_px.shape == motion.found.shape == (0,)


@every_estimator
def test_boxes_follow_a_translation_over_many_frames_in_one_pass(name: str) -> None:
    follower = load_variant(ESTIMATORS, name, "estimator").make_follower()
    frames = [frame(time, 1.5 * time, -1.0 * time) for time in range(13)]
    starts = {1: Box(40, 60, 48), 2: Box(90, 70, 40)}
    for number, box in starts.items():
        follower.start(number, frames[0], box, points_in(frames[0], box))
    for previous, following in pairwise(frames):
        steps = follower.step(previous, following)
        assert set(steps) == set(starts)
        assert all(step.found for step in steps.values())
    for number, box in starts.items():
        assert box_iou(steps[number].box, Box(box.x + 18, box.y - 12, box.side)) > 0.85
    follower.stop(1)
    assert set(follower.step(frames[-2], frames[-1])) == {2}
    follower.stop(2)
    assert not follower.step(frames[-2], frames[-1])


@every_estimator
def test_boxes_stay_where_nothing_moves(name: str) -> None:
    follower = load_variant(ESTIMATORS, name, "estimator").make_follower()
    still, box = frame(0, 0, 0), Box(60, 50, 50)
    follower.start(1, still, box, points_in(still, box))
    for _ in range(5):
        step = follower.step(still, still)[1]
    assert box_iou(step.box, box) > 0.95
    assert step.error_px < 0.1


@every_estimator
def test_equal_frames_give_equal_boxes(name: str) -> None:
    def run() -> list[tuple[Box, float]]:
        follower = load_variant(ESTIMATORS, name, "estimator").make_follower()
        frames = [frame(time, 2.2 * time, 0.7 * time, 1 + 0.01 * time) for time in range(5)]
        follower.start(1, frames[0], Box(50, 50, 50), points_in(frames[0], Box(50, 50, 50)))
        steps = [follower.step(*pair)[1] for pair in pairwise(frames)]
        return [(step.box, step.error_px) for step in steps]

    assert run() == run()


@pytest.mark.parametrize("name", ["klt", "farneback", "dis"])
def test_a_box_grows_with_what_it_holds(name: str) -> None:
    follower = load_variant(ESTIMATORS, name, "estimator").make_follower()
    frames = [frame(time, 0, 0, 1.015**time) for time in range(17)]
    box = Box(60, 50, 60)
    follower.start(1, frames[0], box, points_in(frames[0], box))
    for pair in pairwise(frames):
        step = follower.step(*pair)[1]
    grown = 1.015**16
    assert box.side * (1 + 0.5 * (grown - 1)) < step.box.side < box.side * grown * 1.05


def test_a_box_whose_points_part_is_lost() -> None:
    follower = load_variant(ESTIMATORS, "klt", "estimator").make_follower()
    before = frame(0, 0, 0)
    noise = np.random.default_rng(3).integers(0, 255, before.grey.shape, dtype=np.uint8)
    box = Box(60, 50, 60)
    follower.start(1, before, box, points_in(before, box))
    assert not follower.step(before, WorkingFrame(1, 0.04, noise, None, 1, 1))[1].found


def test_an_unknown_estimator_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'surf' is unknown; choose one of dis, farneback, kcf, klt"):
        load_variant(ESTIMATORS, "surf", "estimator")


def points_in(working: WorkingFrame, box: Box) -> np.ndarray:
    corners = spread_corners(working.grey)
    low, high = np.array([box.x, box.y]), np.array([box.x, box.y]) + box.side
    return corners[((corners >= low) & (corners <= high)).all(axis=1)]
