"""Rows of tracks, and the sample of the rejected ones: bounded, and the same in whatever order they come."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest

from tasks.records import REJECTED_SCHEMA, TRACK_SCHEMA
from tasks.track.boxes import square
from tasks.track.evidence import begin_evidence
from tasks.track.follow import BoxStep
from tasks.track.rows import MAX_REJECTED, RejectedSample, TrackPath, TrackRow

VIDEO = "ab" * 32


def path(start_frame: int, number: int = 0, steps: int = 2, measured: bool = True) -> TrackPath:
    evidence = begin_evidence(square(0, 0, 30), np.zeros(576, np.float32))
    for at in range(steps):
        error, agreement, jolt = (0.1 * at, 0.9, 0.5) if measured else (math.nan,) * 3
        evidence.add(
            BoxStep(square(0, 0, 30), error_px=error, agreement=agreement, jolt_px=jolt, found=True),
            np.zeros(576, np.float32),
        )
    boxes = [(1.0 * at, 2.0, 30.0, 30.0) for at in range(steps + 1)]
    seconds = [(start_frame + at) / 25 for at in range(steps + 1)]
    return TrackPath(VIDEO, "klt", number, start_frame, 640, 480, 0.25, evidence, boxes, seconds)


def test_a_path_is_a_row_of_both_schemas() -> None:
    row = path(6, 2, 4).row()
    assert row["track"] == f"{VIDEO[:16]}-6-2"
    assert (row["start_frame"], row["end_frame"]) == (6, 10)
    assert (row["start_seconds"], row["end_seconds"]) == (6 / 25, 10 / 25)
    assert len(row["boxes"]) == len(row["seconds"]) == 5
    assert len(row["errors_px"]) == len(row["agreement"]) == len(row["jolts_px"]) == 4
    assert row["forward_backward_px"] == pytest.approx(0.3)
    track = TrackRow(**row, anchor_jpeg=b"a", positive_jpeg=b"p", context=1.5)
    assert list(track) == TRACK_SCHEMA.names
    sample = RejectedSample()
    sample.add(path(6), "occlusion")
    assert list(sample.rows()[0]) == REJECTED_SCHEMA.names
    assert pa.Table.from_pylist([dict(track)], schema=TRACK_SCHEMA).num_rows == 1
    assert pa.Table.from_pylist([dict(sample.rows()[0])], schema=REJECTED_SCHEMA).num_rows == 1


def test_what_was_not_measured_is_null() -> None:
    row = path(6, measured=False).row()
    assert row["confidence"] is row["forward_backward_px"] is None
    assert row["ncc"] == 0


def test_a_path_that_was_given_up_at_once_is_a_row() -> None:
    row = path(6, steps=0).row()
    assert (row["start_frame"], row["end_frame"], row["errors_px"]) == (6, 6, [])


def test_few_rejected_tracks_are_all_kept_in_order() -> None:
    sample = RejectedSample()
    for start, number, reason in ((11, 1, "unsure"), (11, 0, "occlusion"), (6, 0, "video_end")):
        sample.add(path(start, number), reason)
    found = [(row["start_frame"], row["track"][-1], row["reason"]) for row in sample.rows()]
    assert found == [(6, "0", "video_end"), (11, "0", "occlusion"), (11, "1", "unsure")]
    assert RejectedSample().rows() == []


def test_the_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    paths = [path(start, number, steps=0) for start in range(0, 3000, 5) for number in range(4)]
    assert len(paths) > 2 * MAX_REJECTED
    kept = []
    for seed in range(3):
        random.Random(seed).shuffle(paths)
        sample = RejectedSample()
        for one in paths:
            sample.add(one, "unsure")
        kept.append(sample.rows())
    assert len(kept[0]) == MAX_REJECTED
    assert kept[0] == kept[1] == kept[2]
    starts = [row["start_frame"] for row in kept[0]]
    assert starts == sorted(starts)
    # Even over the video: no third of it holds less than a quarter of the sample.
    assert min(np.histogram(starts, bins=3, range=(0, 3000))[0]) > MAX_REJECTED / 4
