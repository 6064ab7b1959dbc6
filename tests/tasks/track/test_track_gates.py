"""Gates: every reason at its threshold, which of two wins, and that none holds where it is switched off."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.track.boxes import Box, square
from tasks.track.config import TrackConfig
from tasks.track.evidence import Evidence, begin_evidence
from tasks.track.follow import BoxStep
from tasks.track.gates import FRAME_REASONS, TRACK_REASONS, frame_reason, is_faint, step_reason, track_reason

OPEN = TrackConfig(
    fb_threshold_px=0, min_agreement=0, min_confidence=0, min_ncc=-1, min_visible_share=0, cut_threshold=1
)


def step(box: Box, error_px: float = 0.5, agreement: float = 0.9, found: bool = True) -> BoxStep:
    return BoxStep(box, error_px=error_px, agreement=agreement, jolt_px=0.1, found=found)


def only(**gate: float) -> TrackConfig:
    """A configuration with one gate."""
    return OPEN.model_copy(update=gate)


INSIDE, FRAME = square(10, 10, 40), (100, 100)


def test_reasons_are_told_apart() -> None:
    assert len({*FRAME_REASONS, *TRACK_REASONS}) == len(FRAME_REASONS) + len(TRACK_REASONS)


def test_frames_with_too_little_or_too_much_motion_are_rejected() -> None:
    config = TrackConfig(min_moving_share=0.25, max_moving_share=0.75)
    for reason, num in {"too_few_moving": 24, "": 25, "too_many_moving": 76}.items():
        assert frame_reason(np.arange(100) < num, config) == reason
    assert frame_reason(np.arange(100) < 75, config) == ""
    free = TrackConfig(min_moving_share=0, max_moving_share=1)
    assert frame_reason(np.zeros(9, bool), free) == frame_reason(np.ones(9, bool), free) == ""


@pytest.mark.parametrize(("box", "share"), [(square(-10, 10, 40), 0.75), (Box(10, 95, 20, 10), 0.5)])
def test_a_box_must_be_in_the_frame_for_its_share(box: Box, share: float) -> None:
    assert step_reason(step(box), FRAME, 0, only(min_visible_share=share)) == ""
    assert step_reason(step(box), FRAME, 0, only(min_visible_share=share + 0.01)) == "out_of_frame"
    assert step_reason(step(square(500, 0, 9)), FRAME, 0, OPEN) == ""


def test_the_frame_is_height_by_width() -> None:
    assert step_reason(step(square(150, 10, 40)), (100, 200), 0, TrackConfig()) == ""
    assert step_reason(step(square(150, 10, 40)), (200, 100), 0, TrackConfig()) == "out_of_frame"


def test_the_forward_backward_error_is_gated_where_it_is_known() -> None:
    config = only(fb_threshold_px=1.0)
    assert step_reason(step(INSIDE, 1.0), FRAME, 0, config) == ""
    assert step_reason(step(INSIDE, 1.01), FRAME, 0, config) == "forward_backward"
    assert step_reason(step(INSIDE, math.inf, 0, found=False), FRAME, 0, config) == ""
    assert step_reason(step(INSIDE, math.nan, math.nan), FRAME, 0, config) == ""
    assert step_reason(step(INSIDE, 90.0), FRAME, 0, OPEN) == ""


def test_what_hides_the_box_for_more_than_three_frames_is_an_occlusion() -> None:
    config = only(min_agreement=0.2)
    assert is_faint(step(INSIDE, agreement=0.19), config)
    assert not is_faint(step(INSIDE, agreement=0.2), config)
    assert not is_faint(step(INSIDE, agreement=math.nan), config)
    assert not is_faint(step(INSIDE, agreement=0.0), OPEN)
    assert [step_reason(step(INSIDE, agreement=0), FRAME, faint, config) for faint in range(6)] == [
        *[""] * 4,
        *["occlusion"] * 2,
    ]


def test_only_a_box_trackers_own_word_is_a_loss() -> None:
    assert step_reason(step(INSIDE, math.nan, math.nan, found=False), FRAME, 0, OPEN) == "lost"
    assert step_reason(step(INSIDE, math.inf, 0, found=False), FRAME, 0, OPEN) == ""


def test_leaving_the_frame_is_named_before_what_follows_from_it() -> None:
    outside = square(-80, 10, 90)
    assert step_reason(step(outside, 9.0, 0), FRAME, 9, TrackConfig()) == "out_of_frame"
    assert step_reason(step(INSIDE, 9.0, 0), FRAME, 9, TrackConfig()) == "forward_backward"


def evidence(lag_ncc: float = 1.0, agreement: float = 1.0, jolt_px: float = 0.1) -> Evidence:
    patch = np.zeros(576, np.float32)
    patch[0] = 1
    found = begin_evidence(INSIDE, patch)
    found.add(BoxStep(INSIDE, error_px=0.1, agreement=agreement, jolt_px=jolt_px, found=True), patch)
    found.lag_ncc = lag_ncc
    return found


def test_a_finished_track_is_gated_by_appearance_and_confidence() -> None:
    assert track_reason(evidence(0.3), only(min_ncc=0.3)) == ""
    assert track_reason(evidence(0.29), only(min_ncc=0.3)) == "appearance"
    assert track_reason(evidence(-1.0, 0, 90), OPEN) == ""
    doubtful = evidence(0.4, 0.3, 4)
    sure = doubtful.confidence
    assert 0.01 < sure < 0.99
    assert track_reason(doubtful, only(min_confidence=sure - 0.001)) == ""
    assert track_reason(doubtful, only(min_confidence=sure + 0.001)) == "unsure"
    assert track_reason(doubtful, only(min_confidence=1.0, min_ncc=0.9)) == "appearance"


def test_what_is_not_measured_passes() -> None:
    unknown = evidence(1.0, math.nan, math.nan)
    assert math.isnan(unknown.confidence)
    assert track_reason(unknown, TrackConfig()) == ""
