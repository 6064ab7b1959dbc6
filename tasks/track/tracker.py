"""Mining: one pass over a video that starts windows where things move and follows them for `gap_frames`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from tasks.track.boxes import Box, box_iou
from tasks.track.camera import measure_motion
from tasks.track.config import TrackConfig
from tasks.track.crops import CONTEXT, context_crop
from tasks.track.cuts import brightness_histogram, histogram_distance
from tasks.track.decode import DecodedFrame
from tasks.track.follow import Follower
from tasks.track.frames import WorkingFrame, working_frame
from tasks.track.gates import (
    FRAME_REASONS,
    TRACK_REASONS,
    appearance_patch,
    correlation,
    frame_reason,
    step_reason,
)
from tasks.track.motion import FollowPoints
from tasks.track.proposals import Proposal, propose_windows

_DUPLICATE_IOU = 0.5


class TrackRow(TypedDict):
    """A row of tasks.records.TRACK_SCHEMA."""

    track: str
    video: str
    estimator: str
    start_frame: int
    end_frame: int
    start_seconds: float
    end_seconds: float
    frame_width: int
    frame_height: int
    boxes: list[tuple[float, float, float, float]]
    forward_backward_px: float
    ncc: float
    moving_share: float
    anchor_jpeg: bytes
    positive_jpeg: bytes
    context: float


@dataclass
class _Live:
    """A window on its way."""

    number: int  # among the windows of its start frame
    start_frame: int
    start_seconds: float
    box: Box
    patch: np.ndarray
    anchor_jpeg: bytes
    moving_share: float
    boxes: list[tuple[float, float, float, float]]
    error_px: float = 0.0


@dataclass
class TrackMiner:
    """Feed it every frame of a video in order, then `finish`.

    Memory is bounded: the last working frame, the windows on their way, and at most `max_tracks` finished
    tracks; where more are found, every second start is given up and starts become half as frequent, so that
    the tracks of a long video lie evenly over it.
    """

    video: str
    config: TrackConfig
    follow_points: FollowPoints
    follower: Follower
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[int, TrackRow]] = field(default_factory=list)
    _live: dict[int, _Live] = field(default_factory=dict)
    _next_name: int = 0
    _every: int = 0
    _previous: WorkingFrame | None = None
    _histogram: np.ndarray | None = None

    def feed(self, frame: DecodedFrame) -> WorkingFrame:
        """Take the next frame; returns it at working size."""
        working = working_frame(frame, self.config.working_height_px, self.follower.needs_colour)
        self._every = self._every or self.config.start_every_frames
        previous, self._previous = self._previous, working
        self.counts["frames"] += 1
        if previous is None or previous.grey.shape != working.grey.shape:
            self._reject_all("resized")
            self._histogram = None
        is_cut = self._is_cut(working)
        if previous is None or previous.grey.shape != working.grey.shape:
            return working
        if is_cut:
            self._reject_all("crossed_cut")
        else:
            self._step(previous, working, frame)
        if (working.index - 1) % self._every == 0:
            self._start(previous, working, frame, is_cut)
        return working

    def finish(self) -> list[TrackRow]:
        """The tracks, by start frame; windows still on their way are rejected as `video_end`."""
        self._reject_all("video_end")
        rows = [row for _, row in sorted(self.rows, key=lambda entry: (entry[1]["start_frame"], entry[0]))]
        self.counts["tracks"] = len(rows)
        for name in ("starts", "windows", *(f"rejected_{reason}" for reason in (*FRAME_REASONS, *TRACK_REASONS))):
            self.counts.setdefault(name, 0)
        return rows

    def _is_cut(self, working: WorkingFrame) -> bool:
        histogram, before = brightness_histogram(working.grey), self._histogram
        self._histogram = histogram
        threshold = self.config.cut_threshold
        return threshold < 1 and before is not None and histogram_distance(before, histogram) > threshold

    def _start(self, previous: WorkingFrame, working: WorkingFrame, frame: DecodedFrame, is_cut: bool) -> None:
        self.counts["starts"] += 1
        proposals = "cut" if is_cut else self._propose(previous, working)
        if isinstance(proposals, str):
            self.counts[f"rejected_{proposals}"] += 1
            return
        self.counts["windows"] += len(proposals)
        fresh = [(number, entry) for number, entry in enumerate(proposals) if not self._is_duplicate(entry, working)]
        self.counts["rejected_duplicate"] += len(proposals) - len(fresh)
        pixels = frame.rgb() if fresh else None
        for number, proposal in fresh:
            assert pixels is not None
            box = _in_source(proposal.box, working)
            live = _Live(
                number=number,
                start_frame=working.index,
                start_seconds=working.seconds,
                box=proposal.box,
                patch=appearance_patch(working.grey, proposal.box),
                anchor_jpeg=context_crop(pixels, box),
                moving_share=proposal.moving_share,
                boxes=[box],
            )
            self._live[self._next_name] = live
            self.follower.start(self._next_name, working, proposal.box, proposal.points)
            self._next_name += 1

    def _propose(self, previous: WorkingFrame, working: WorkingFrame) -> list[Proposal] | str:
        motion = measure_motion(previous.grey, working.grey, self.follow_points)
        if isinstance(motion, str):
            return motion
        moving = np.linalg.norm(motion.residual, axis=1) > self.config.moving_threshold_px
        if reason := frame_reason(moving, self.config):
            return reason
        height, width = working.grey.shape
        proposals = propose_windows(
            motion, moving, (width, height), self.config.patch_px, self.config.windows_per_frame
        )
        return proposals or "no_window"

    def _is_duplicate(self, proposal: Proposal, working: WorkingFrame) -> bool:
        return any(
            working.index - live.start_frame < self.config.duplicate_frames
            and box_iou(proposal.box, live.box) > _DUPLICATE_IOU
            for live in self._live.values()
        )

    def _step(self, previous: WorkingFrame, working: WorkingFrame, frame: DecodedFrame) -> None:
        finished = []
        for name, step in self.follower.step(previous, working).items():
            live = self._live[name]
            if reason := step_reason(step, working.grey.shape, self.config):
                self._reject(name, reason)
                continue
            live.box = step.box
            live.boxes.append(_in_source(step.box, working))
            live.error_px = max(live.error_px, step.error_px)
            if working.index - live.start_frame == self.config.gap_frames:
                finished.append(name)
        pixels = None
        for name in finished:
            live = self._live[name]
            ncc = correlation(live.patch, appearance_patch(working.grey, live.box))
            if ncc < self.config.min_ncc:
                self._reject(name, "appearance")
                continue
            pixels = frame.rgb() if pixels is None else pixels
            self._keep(name, working, frame, ncc, context_crop(pixels, live.boxes[-1]))

    def _keep(self, name: int, working: WorkingFrame, frame: DecodedFrame, ncc: float, positive: bytes) -> None:
        live = self._forget(name)
        row = TrackRow(
            track=f"{self.video[:16]}-{live.start_frame}-{live.number}",
            video=self.video,
            estimator=self.config.estimator,
            start_frame=live.start_frame,
            end_frame=working.index,
            start_seconds=live.start_seconds,
            end_seconds=working.seconds,
            frame_width=frame.width,
            frame_height=frame.height,
            boxes=live.boxes,
            forward_backward_px=live.error_px,
            ncc=ncc,
            moving_share=live.moving_share,
            anchor_jpeg=live.anchor_jpeg,
            positive_jpeg=positive,
            context=CONTEXT,
        )
        self.rows.append((live.number, row))
        while len(self.rows) > self.config.max_tracks:
            self._thin()

    def _thin(self) -> None:
        """Give up every second start; where only one is left, its last window."""
        starts = {row["start_frame"] for _, row in self.rows}
        if len(starts) == 1:
            self.rows.pop()
            self.counts["rejected_thinned"] += 1
            return
        self._every *= 2
        kept = [entry for entry in self.rows if (entry[1]["start_frame"] - 1) % self._every == 0]
        self.counts["rejected_thinned"] += len(self.rows) - len(kept)
        self.rows = kept
        for name in [name for name, live in self._live.items() if (live.start_frame - 1) % self._every]:
            self._reject(name, "thinned")

    def _reject_all(self, reason: str) -> None:
        for name in list(self._live):
            self._reject(name, reason)

    def _reject(self, name: int, reason: str) -> None:
        self._forget(name)
        self.counts[f"rejected_{reason}"] += 1

    def _forget(self, name: int) -> _Live:
        self.follower.stop(name)
        return self._live.pop(name)


def _in_source(box: Box, working: WorkingFrame) -> tuple[float, float, float, float]:
    """(x, y, width, height) in source px; square, since the aspect is kept to the nearest working pixel only."""
    x, y = box.centre
    side = box.side * working.scale_y
    return x * working.scale_x - side / 2, y * working.scale_y - side / 2, side, side
