"""Evidence: the lags of its comparisons, its features, and a confidence that follows each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.track.boxes import Box, square
from tasks.track.evidence import Evidence, begin_evidence
from tasks.track.follow import BoxStep


def step(error_px: float = 0.1, agreement: float = 1.0, jolt_px: float = 0.2) -> BoxStep:
    return BoxStep(
        square(0, 0, 50),
        error_px=error_px,
        agreement=agreement,
        jolt_px=jolt_px,
        found=True,
    )


def patch(turn: float) -> np.ndarray:
    """A patch whose correlation with another one is the cosine of the angle between them: (576,) float32."""
    seen = np.zeros(576, np.float32)
    seen[:2] = math.cos(turn), math.sin(turn)
    return seen


def test_a_track_begins_without_doubt() -> None:
    evidence = begin_evidence(Box(3, 4, 20, 80), patch(0))
    assert evidence.size_px == 40
    assert (evidence.error_px, evidence.ncc, evidence.step_ncc, evidence.lag_ncc) == (0, 1, 1, 1)
    assert evidence.features == (math.log(1e-3), 1, 1, 1)
    assert evidence.confidence > 0.9


def test_each_frame_is_kept_and_the_worst_counts() -> None:
    evidence = begin_evidence(square(0, 0, 50), patch(0))
    for error, agreement, jolt in ((0.1, 0.9, 0.5), (0.7, 0.4, 2.5), (0.2, 0.8, 0.1)):
        evidence.add(step(error, agreement, jolt), patch(0))
    assert evidence.errors_px == [0.1, 0.7, 0.2]
    assert evidence.agreement == [0.9, 0.4, 0.8]
    assert evidence.jolts_px == [0.5, 2.5, 0.1]
    assert evidence.error_px == 0.7
    assert evidence.features == pytest.approx((math.log(2.5 / 50), 1, 1, 0.4))


def test_patches_are_compared_with_the_first_the_one_before_and_that_of_ten_frames_before() -> None:
    turns = np.cumsum(np.random.default_rng(0).uniform(0, 0.12, 41))
    evidence = begin_evidence(square(0, 0, 50), patch(turns[0]))
    steps, lags = [], []
    for number in range(1, 41):
        evidence.add(step(), patch(turns[number]))
        steps.append(math.cos(turns[number] - turns[number - 1]))
        if number >= 10 and number % 5 == 0:
            lags.append(math.cos(turns[number] - turns[number - 10]))
        assert evidence.ncc == pytest.approx(math.cos(turns[number] - turns[0]), abs=1e-5)
        assert evidence.step_ncc == pytest.approx(min(steps), abs=1e-5)
        assert evidence.lag_ncc == pytest.approx(min(lags, default=1.0), abs=1e-5)


def test_a_passing_change_is_remembered_and_a_flat_picture_is_like_nothing() -> None:
    evidence = begin_evidence(square(0, 0, 50), patch(0))
    for turn in (0, 1.5, 0, 0):
        evidence.add(step(), patch(turn))
    assert evidence.step_ncc == pytest.approx(math.cos(1.5), abs=1e-5)
    assert evidence.ncc == pytest.approx(1)
    evidence.add(step(), np.zeros(576, np.float32))
    assert evidence.step_ncc == evidence.ncc == 0


def test_memory_does_not_grow_with_patches() -> None:
    evidence = begin_evidence(square(0, 0, 50), patch(0))
    for _ in range(300):
        evidence.add(step(), patch(0))
    assert len(evidence._kept) <= 3


def evidence_of(jolt: float, step_ncc: float, lag_ncc: float, agreement: float) -> Evidence:
    found = begin_evidence(square(0, 0, 50), patch(0))
    found.add(step(jolt_px=jolt, agreement=agreement), patch(0))
    found.step_ncc, found.lag_ncc = step_ncc, lag_ncc
    return found


share = st.floats(0, 1)
correlations = st.floats(-1, 1)
jolts = st.floats(0, 500)


@given(jolts, correlations, correlations, share, st.floats(0, 20), share, share, share)
def test_confidence_falls_with_every_sign_of_error(
    jolt: float,
    step_ncc: float,
    lag_ncc: float,
    agreement: float,
    more_jolt: float,
    less_step: float,
    less_lag: float,
    less_agreement: float,
) -> None:
    best = evidence_of(jolt, step_ncc, lag_ncc, agreement).confidence
    assert 0 <= best <= 1
    worse = (
        evidence_of(jolt + more_jolt, step_ncc, lag_ncc, agreement),
        evidence_of(jolt, step_ncc - less_step, lag_ncc, agreement),
        evidence_of(jolt, step_ncc, lag_ncc - less_lag, agreement),
        evidence_of(jolt, step_ncc, lag_ncc, agreement * less_agreement),
    )
    assert all(other.confidence <= best + 1e-12 for other in worse)


def test_a_steady_track_is_sure_and_a_jolted_one_is_not() -> None:
    assert evidence_of(0.2, 0.98, 0.9, 0.9).confidence > 0.9
    assert evidence_of(25, 0.1, 0, 0.05).confidence < 0.2


def test_a_large_box_may_jolt_more() -> None:
    small, large = (begin_evidence(square(0, 0, side), patch(0)) for side in (30, 90))
    for evidence in (small, large):
        evidence.add(step(jolt_px=6), patch(0))
    assert small.confidence < large.confidence


def test_what_a_box_tracker_does_not_measure_stays_unknown() -> None:
    evidence = begin_evidence(square(0, 0, 50), patch(0))
    for turn in (0.1, 0.2):
        evidence.add(step(math.nan, math.nan, math.nan), patch(turn))
    assert math.isnan(evidence.confidence)
    assert math.isnan(evidence.error_px)
    assert evidence.ncc == pytest.approx(math.cos(0.2), abs=1e-5)
