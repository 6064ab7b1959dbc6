"""Rows of the track tables, and a bounded sample of the tracks that were rejected."""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from tasks.track.evidence import Evidence

SourceBox = tuple[float, float, float, float]
MAX_REJECTED = 1000  # rows of rejected tracks kept of one video; the counts are of all


class PathRow(TypedDict):
    """What accepted and rejected tracks have in common (see tasks.records)."""

    track: str
    video: str
    estimator: str
    start_frame: int
    end_frame: int
    start_seconds: float
    end_seconds: float
    frame_width: int
    frame_height: int
    boxes: Sequence[SourceBox]
    seconds: Sequence[float]
    errors_px: Sequence[float]
    agreement: Sequence[float]
    jolts_px: Sequence[float]
    forward_backward_px: float | None
    ncc: float
    step_ncc: float
    lag_ncc: float
    confidence: float | None
    moving_share: float


class TrackRow(PathRow):
    """A row of tasks.records.TRACK_SCHEMA."""

    anchor_jpeg: bytes
    positive_jpeg: bytes
    context: float


class RejectedRow(PathRow):
    """A row of tasks.records.REJECTED_SCHEMA."""

    reason: str


@dataclass(frozen=True)
class TrackPath:
    """A window followed so far: one box (source px) and one time (seconds) a frame from `start_frame` on."""

    video: str
    estimator: str
    number: int  # among the windows of its start frame
    start_frame: int
    frame_width: int
    frame_height: int
    moving_share: float
    evidence: Evidence
    boxes: list[SourceBox] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def row(self) -> PathRow:
        """The path as a row; what was not measured (NaN) is null."""
        evidence = self.evidence
        return PathRow(
            track=f"{self.video[:16]}-{self.start_frame}-{self.number}",
            video=self.video,
            estimator=self.estimator,
            start_frame=self.start_frame,
            end_frame=self.start_frame + len(self.boxes) - 1,
            start_seconds=self.seconds[0],
            end_seconds=self.seconds[-1],
            frame_width=self.frame_width,
            frame_height=self.frame_height,
            boxes=self.boxes,
            seconds=self.seconds,
            errors_px=evidence.errors_px,
            agreement=evidence.agreement,
            jolts_px=evidence.jolts_px,
            forward_backward_px=_known(evidence.error_px),
            ncc=evidence.ncc,
            step_ncc=evidence.step_ncc,
            lag_ncc=evidence.lag_ncc,
            confidence=_known(evidence.confidence),
            moving_share=self.moving_share,
        )


class RejectedSample:
    """Of all rejected tracks a fixed sample of at most `MAX_REJECTED`, so that a long video has bounded memory.

    Those whose names have the smallest checksums stay: the same ones whenever the video is mined again.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, RejectedRow]] = []

    def add(self, path: TrackPath, reason: str) -> None:
        """Offer a track that was rejected."""
        row = RejectedRow(**path.row(), reason=reason)
        entry = (-zlib.crc32(row["track"].encode()), row["track"], row)
        if len(self._heap) < MAX_REJECTED:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def rows(self) -> list[RejectedRow]:
        """The sample, by start frame and name."""
        return sorted((row for _, _, row in self._heap), key=lambda row: (row["start_frame"], row["track"]))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
