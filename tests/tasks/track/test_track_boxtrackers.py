"""One contract for every box tracker of the registry."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.track.boxes import Box, box_iou
from tasks.track.estimators import BOX_TRACKERS
from tasks.variants import load_variant
from tests.tasks.track.conftest import moving_square

every_tracker = pytest.mark.parametrize("name", sorted(BOX_TRACKERS))


@pytest.mark.parametrize("name", sorted(BOX_TRACKERS.keys() - {"still"}))
def test_a_box_follows_a_moving_square(name: str) -> None:
    frames = [np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in moving_square(13, speed=3, side=60)]
    tracker = load_variant(BOX_TRACKERS, name, "box tracker").make_box_tracker()
    tracker.start(frames[0], Box(22.4, 82.0, 56.0, 50.0))
    for bgr in frames[1:]:
        box = tracker.update(bgr)
        assert box is not None
    assert box_iou(box, Box(22.4 + 36, 82.0, 56.0, 50.0)) > 0.8


@every_tracker
def test_two_trackers_of_one_kind_do_not_meet(name: str) -> None:
    frames = [np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in moving_square(4, side=60)]
    module = load_variant(BOX_TRACKERS, name, "box tracker")

    def run(*boxes: Box) -> list[Box | None]:
        trackers = [module.make_box_tracker() for _ in boxes]
        for tracker, box in zip(trackers, boxes, strict=True):
            tracker.start(frames[0], box)
        return [[tracker.update(bgr) for tracker in trackers] for bgr in frames[1:]][-1]

    one, other = Box(20, 80, 60, 60), Box(200, 100, 40, 50)
    assert run(one, other) == run(one) + run(other)


@every_tracker
def test_a_box_that_juts_out_of_the_frame_is_followed_inside_it(name: str) -> None:
    frames = [np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in moving_square(4, speed=0, camera=0)]
    tracker = load_variant(BOX_TRACKERS, name, "box tracker").make_box_tracker()
    box = Box(-15.0, 90.0, 80.0, 60.0)
    tracker.start(frames[0], box)
    for bgr in frames[1:]:
        moved = tracker.update(bgr)
        assert moved is not None
        assert box_iou(moved, box) > 0.8


def test_without_tracking_the_box_stays() -> None:
    tracker = load_variant(BOX_TRACKERS, "still", "box tracker").make_box_tracker()
    frames = [np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in moving_square(4)]
    tracker.start(frames[0], Box(20, 80, 80, 80))
    assert [tracker.update(bgr) for bgr in frames[1:]] == [Box(20, 80, 80, 80)] * 3


def test_kcf_loses_a_square_whose_place_shows_something_else() -> None:
    frames = [np.ascontiguousarray(rgb[:, :, ::-1]) for rgb in moving_square(3)]
    tracker = load_variant(BOX_TRACKERS, "kcf", "box tracker").make_box_tracker()
    tracker.start(frames[0], Box(20, 80, 80, 80))
    assert tracker.update(frames[1]) is not None
    assert tracker.update(np.random.default_rng(0).integers(0, 255, frames[0].shape, dtype=np.uint8)) is None


def test_an_unknown_box_tracker_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'mosse' is unknown; choose one of csrt, kcf"):
        load_variant(BOX_TRACKERS, "mosse", "box tracker")
