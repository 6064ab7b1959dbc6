"""What crosses stages: records and the Arrow schemas of the tables that units hold.

Boxes are (x, y, width, height) in pixels of the source frame, float, origin at the top left corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from storage.versions import Failure, FailureClass

BOX: pa.DataType = pa.list_(pa.float32(), 4)

_PATH = [
    ("track", pa.string()),  # <video[:16]>-<start frame>-<number>
    ("video", pa.string()),  # SHA-256 of the bytes
    ("estimator", pa.string()),
    ("start_frame", pa.int32()),  # in source frames, from 0
    ("end_frame", pa.int32()),  # the last box's
    ("start_seconds", pa.float64()),
    ("end_seconds", pa.float64()),
    ("frame_width", pa.int32()),
    ("frame_height", pa.int32()),
    ("boxes", pa.list_(BOX)),  # one a frame, start to end inclusive
    ("seconds", pa.list_(pa.float64())),  # presentation time of each box's frame
    # One a frame after the start, at working size: median forward-backward error of the box's points, share of them
    # that go with it, distance of its motion from its smoothed motion. NaN where the estimator does not measure it.
    ("errors_px", pa.list_(pa.float32())),
    ("agreement", pa.list_(pa.float32())),
    ("jolts_px", pa.list_(pa.float32())),
    ("forward_backward_px", pa.float32()),  # the worst of errors_px
    ("ncc", pa.float32()),  # normalised cross-correlation of anchor and positive patch, -1 to 1
    ("step_ncc", pa.float32()),  # the least one of a patch with that of the frame before
    ("lag_ncc", pa.float32()),  # the least one of a patch with that of ten frames before
    ("confidence", pa.float32()),  # estimated probability that the track is right; null where not measured
    ("moving_share", pa.float32()),  # of the window's points at the start
]

TRACK_SCHEMA = pa.schema(
    [
        *_PATH,
        ("anchor_jpeg", pa.binary()),  # square crop, `context` times the box's side, frame edge reflected
        ("positive_jpeg", pa.binary()),
        ("context", pa.float32()),
    ]
)

REJECTED_SCHEMA = pa.schema([*_PATH, ("reason", pa.string())])
"""Tracks that were given up, as far as they were followed: a sample of at most 1,000 a video."""

PAIR_SCHEMA = pa.schema(
    [
        ("sample", pa.string()),  # name in the tar; the track's name
        ("video", pa.string()),
        ("split", pa.string()),  # train or held_out
        ("estimator", pa.string()),
        ("start_frame", pa.int32()),
        ("end_frame", pa.int32()),
        ("anchor_box", BOX),
        ("positive_box", BOX),
        ("forward_backward_px", pa.float32()),
        ("ncc", pa.float32()),
        ("anchor_offset", pa.int64()),  # of the member's bytes in the tar file
        ("anchor_size", pa.int64()),
        ("positive_offset", pa.int64()),
        ("positive_size", pa.int64()),
    ]
)

TRIPLET_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("shard", pa.string()),  # key of the shard unit
        ("row", pa.int32()),  # of the pair in that shard's index
        ("sample", pa.string()),
        ("video", pa.string()),
        ("group", pa.string()),  # near-duplicate videos share it; a negative never does
        ("negative_shard", pa.string()),
        ("negative_row", pa.int32()),  # its anchor patch is the negative
        ("negative_sample", pa.string()),
        ("negative_video", pa.string()),
    ]
)

METRIC_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),  # optimiser steps done, from 1
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("active_share", pa.float64()),  # of the hinges above 0
        ("positive_cosine", pa.float64()),  # mean over pairs
        ("negative_cosine", pa.float64()),  # mean over the chosen negatives
        ("mean_cosine", pa.float64()),  # over all patches of the batch: near 1 is collapse
        ("learning_rate", pa.float64()),
    ]
)

SCORE_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("metric", pa.string()),
        ("features", pa.string()),  # trained, untrained, hog, ..., or "trained - untrained"
        ("value", pa.float64()),
        ("low", pa.float64()),  # 95 % bootstrap interval, resampled by cluster
        ("high", pa.float64()),
        ("num_items", pa.int64()),
        ("num_clusters", pa.int64()),  # what the interval is drawn over
        ("cluster", pa.string()),  # what that is: held-out video, image
        ("chance", pa.float64()),  # what guessing gives; null where it has no meaning
        ("note", pa.string()),
        ("subset", pa.string()),  # empty for the whole set
        ("unit", pa.string()),  # share (of 1, more is better) or degrees (less is better)
    ]
)

AUDIT_SCHEMA = pa.schema(
    [
        ("video", pa.int32()),  # number of the generated video
        ("track", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),  # why it was rejected; empty for an accepted one
        ("right", pa.bool_()),  # at its last box, against the truth
        ("possible", pa.bool_()),  # a tracker without error would have been right over the whole gap
        ("cause", pa.string()),  # of a wrong one: cut, no_object, left_view, occlusion, scale or drift
        ("object", pa.int32()),  # the solid or occluder that it was put on, 0 for the background
        ("start_frame", pa.int32()),
        ("end_frame", pa.int32()),
        ("centre_error_px", pa.float32()),  # of the last box, in px of the video; null where no true box is known
        ("centre_error_share", pa.float32()),  # of the true box's side
        ("scale_error", pa.float32()),  # log of the ratio of the sides
        ("iou", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Listing:
    """What a source names that is no video itself, such as a playlist: (location, given) of each entry.

    `complete`: whether the whole list was read; what a cut one does not name has not vanished.
    """

    title: str
    entries: tuple[tuple[str, str], ...]
    complete: bool = True


class Progress(Protocol):
    """Told how far long work is: `done` of `total`, with a short note."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def no_progress(done: int, total: int, note: str = "") -> None:
    """The progress of those who do not ask."""


class Paused(Exception):
    """Work that ends here for now, since something ran out (a disk, a budget); a later run goes on with its item.

    The message says what ran out and what to do, in one line.
    """


class Dropped(Exception):
    """An item ends here as a counted outcome: a bad input, never a programming error.

    `reason` is a short slug that is counted; `words` what the tool itself said. `settings`: fields of the stage's
    configuration that the verdict rests on; the item is tried again when one of them changes. `retry_after`: seconds
    for which the host asked to be left alone, 0 where it did not.
    """

    def __init__(
        self, kind: FailureClass, reason: str, words: str, settings: tuple[str, ...] = (), retry_after: float = 0.0
    ) -> None:
        super().__init__(kind, reason, words, settings, retry_after)
        self.kind: FailureClass = kind
        self.reason = reason
        self.words = words
        self.settings = settings
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.reason}: {self.words}"

    def as_failure(self, stage: str, attempts: int = 1) -> Failure:
        return Failure(
            stage, self.kind, self.reason, self.words, attempts, datetime.now(UTC).isoformat(timespec="seconds")
        )
