"""Verdicts on tracks: perfect ones are right, each way of going wrong has its cause, errors are what was put in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.track.truth import TruthFrame, can_be_followed, carry, iou, judge_track, target_of
from tasks.world.config import hard_world
from tasks.world.render import Box, ObjectTruth, render_video

WIDTH, HEIGHT = 320, 240


def _scene(*boxes: Box, hidden: float = 0.0, is_cut: bool = False, number: int = 3) -> list[TruthFrame]:
    """One solid that fills a box in each frame, of which a share is hidden from the left."""
    frames = []
    for x, y, width, height in boxes:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        left, right = max(round(x + hidden * width), 0), min(max(round(x + width), 0), WIDTH)
        mask[max(round(y), 0) : round(y + height), left:right] = number
        inside = max(0.0, min(x + width, WIDTH) - max(x, 0)) / width
        visible = np.count_nonzero(mask) / (width * height)
        thing = ObjectTruth(number, "box", (0, 0, 0, 0), (x, y, width, height), visible, hidden if inside else 0)
        frames.append(TruthFrame(mask, (thing,), is_cut))
    return frames


def _slide(num_frames: int = 31, speed: float = 2.0, growth: float = 1.0) -> list[Box]:
    sides = [60 * growth ** (time / (num_frames - 1)) for time in range(num_frames)]
    return [(20 + speed * time, 80.0, side, side) for time, side in enumerate(sides)]


@pytest.mark.parametrize("growth", [0.6, 1.0, 1.8])
@pytest.mark.parametrize("window", [(0.0, 0.0, 1.0), (0.2, 0.1, 0.6), (-0.3, -0.3, 1.6)])
def test_a_window_that_the_solid_carries_is_right(window: tuple[float, float, float], growth: float) -> None:
    across, down, size = window
    boxes = [
        (x + across * width, y + down * height, size * width, size * height)
        for x, y, width, height in _slide(growth=growth)
    ]
    verdict = judge_track(boxes, 2, _scene(*([_slide()[0]] * 2), *_slide(growth=growth)))
    assert (verdict.right, verdict.cause, verdict.target) == (True, "", 3)
    assert verdict.iou == pytest.approx(1)
    assert verdict.centre_error_px == pytest.approx(0, abs=1e-9)
    assert verdict.scale_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("end", "right", "cause"),
    [
        ((80, 80, 60, 60), True, ""),
        ((80 + 29.9, 80, 60, 60), True, ""),  # IoU 1/3, its centre at the edge of the solid: just right
        ((80 + 34, 80, 60, 60), False, "drift"),  # the centre is off the solid
        ((80 + 28, 80 + 28, 60, 60), False, "drift"),  # on the solid, but IoU 0.17
        ((20, 80, 60, 60), False, "drift"),  # stayed where it was
        ((95, 95, 30, 30), False, "scale"),  # half of the side: IoU 0.25
        ((50, 50, 120, 120), False, "scale"),
        ((88, 88, 44, 44), True, ""),
    ],
)  # fmt: skip
def test_where_a_track_ends_decides(end: Box, right: bool, cause: str) -> None:
    verdict = judge_track([*_slide()[:-1], end], 0, _scene(*_slide()))
    assert (verdict.right, verdict.cause) == (right, cause)
    assert verdict.centre_error_px == pytest.approx(math.dist((end[0] + end[2] / 2, end[1] + end[3] / 2), (110, 110)))
    assert verdict.centre_error_share == pytest.approx(verdict.centre_error_px / 60)
    assert verdict.scale_error == pytest.approx(math.log(math.sqrt(end[2] * end[3]) / 60))


def test_a_cut_comes_before_every_other_cause() -> None:
    frames = _scene(*_slide())
    frames[20] = replace(frames[20], is_cut=True)
    verdict = judge_track(_slide(), 0, frames)
    assert (verdict.right, verdict.cause, verdict.target) == (False, "cut", 3)
    assert math.isnan(verdict.centre_error_px)
    frames = _scene(*_slide())
    frames[0] = replace(frames[0], is_cut=True)
    assert judge_track(_slide(), 0, frames).right, "a track that starts with the shot crosses nothing"


def test_a_window_on_the_background_is_on_no_object() -> None:
    verdict = judge_track([(200, 20, 60, 60)] * 31, 0, _scene(*_slide()))
    assert (verdict.right, verdict.cause, verdict.target, verdict.iou) == (False, "no_object", 0, 0)


def test_a_solid_that_leaves_the_view_takes_the_track_along() -> None:
    path = [(279.0 + time, 80.0, 60.0, 60.0) for time in range(31)]
    verdict = judge_track(path, 0, _scene(*path))
    assert (verdict.right, verdict.cause) == (False, "left_view")
    assert judge_track(path[:11], 0, _scene(*path)).right, "half of it is in view"
    gone = [*path[:-1], (0.0, 0.0, 0.0, 0.0)]
    frames = _scene(*path)
    thing = replace(frames[-1].things[0], full_box=(0, 0, 0, 0), visibility=0.0)
    frames[-1] = replace(frames[-1], things=(thing,))
    assert judge_track(gone, 0, frames).cause == "left_view"


def test_a_solid_that_was_hidden_is_the_cause_of_what_went_wrong_and_only_of_that() -> None:
    clear, hidden = _scene(*_slide()), _scene(*_slide(), hidden=0.6)
    passing = [*clear[:10], *hidden[10:20], *clear[20:]]
    lost = [*_slide()[:-1], (200.0, 80.0, 60.0, 60.0)]
    assert judge_track(lost, 0, passing).cause == "occlusion"
    assert judge_track(_slide(), 0, passing).right
    ending = [*clear[:20], *_scene(*_slide(), hidden=0.9)[20:]]
    assert judge_track(_slide(), 0, ending).cause == "occlusion", "a tenth of it is left to see"


def test_windows_belong_to_what_fills_their_middle() -> None:
    frame = _scene((100, 80, 40, 40))[0]
    assert target_of((90, 70, 60, 60), frame) == 3
    assert target_of((60, 40, 120, 120), frame) == 0, "22 % of its middle"
    assert target_of((70, 50, 100, 100), frame) == 3, "32 % of its middle"
    assert target_of((300, 220, 60, 60), frame) == 0
    assert target_of((-500, -500, 60, 60), frame) == 0
    mask = frame.mask.copy()
    mask[80:120, 110:200] = 5  # in front of the other
    assert target_of((100, 80, 40, 40), replace(frame, mask=mask)) == 5


def test_a_window_that_began_beside_a_small_solid_may_end_beside_it() -> None:
    boxes = [(x + 25, y - 20, 80.0, 100.0) for x, y, _, _ in _slide()]
    verdict = judge_track(boxes, 0, _scene(*_slide()))
    assert verdict.target == 3
    assert not _slide()[0][0] <= boxes[0][0] + 40 < _slide()[0][0] + 60, "its centre is off the solid"
    assert verdict.right
    assert not judge_track([*boxes[:-1], (150, 60, 80, 100)], 0, _scene(*_slide())).right


def test_what_can_be_followed_is_what_a_perfect_track_would_be_right_with() -> None:
    frames = _scene(*_slide())
    window = (30.0, 90.0, 40.0, 40.0)
    assert can_be_followed(window, 0, 30, frames)
    assert not can_be_followed(window, 0, 31, frames), "the video ends before"
    assert not can_be_followed((200, 20, 60, 60), 0, 30, frames), "on the background"
    frames[20] = replace(frames[20], is_cut=True)
    assert not can_be_followed(window, 0, 30, frames)
    assert can_be_followed(window, 0, 19, frames)
    leaving = _scene(*[(270.0 + time, 80.0, 60.0, 60.0) for time in range(31)])
    assert not can_be_followed((270, 80, 60, 60), 0, 30, leaving)
    assert can_be_followed((270, 80, 60, 60), 0, 5, leaving)


sides = st.floats(1, 200)
places = st.floats(-100, 300)
boxes = st.tuples(places, places, sides, sides)


@given(boxes, boxes)
def test_iou_is_a_share_and_symmetric(one: Box, other: Box) -> None:
    assert 0 <= iou(one, other) <= 1 + 1e-9
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert iou(one, one) == pytest.approx(1)


@given(boxes, boxes, boxes)
def test_what_is_carried_there_and_back_is_where_it_was(window: Box, before: Box, after: Box) -> None:
    assert carry(before, before, after) == pytest.approx(after, abs=1e-6)
    assert carry(carry(window, before, after), after, before) == pytest.approx(window, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(("num_boxes", "start"), [(0, 0), (3, 8), (11, 0)])
def test_tracks_outside_the_video_are_refused(num_boxes: int, start: int) -> None:
    with pytest.raises(ValueError, match=f"a track of {num_boxes} boxes from frame {start} in a video of 10 frames"):
        judge_track([(0, 0, 10, 10)] * num_boxes, start, _scene(*_slide(10)))


def test_true_boxes_of_the_hard_world_are_right_while_they_are_seen() -> None:
    """Solids and occluders followed perfectly: right, unless so little of one is seen that no pair can be made."""
    world = replace(hard_world(31), cut_probability=0.0, width=160, height=120)
    rights = []
    for index in range(3):
        frames = [TruthFrame.of(frame) for frame in render_video(world, 5, index, truth=False)]
        for number in (thing.object for thing in frames[0].things):
            things = [next(one for one in frame.things if one.object == number) for frame in frames]
            verdict = judge_track([thing.full_box for thing in things], 0, frames, number)
            assert verdict.target == number
            if things[-1].full_box[2]:
                assert verdict.iou == pytest.approx(1)
            assert verdict.right == (not verdict.cause)
            assert verdict.right or verdict.cause in ("left_view", "occlusion")
            rights.append(verdict.right)
    assert len(rights) > 10
    assert np.mean(rights) > 0.7
