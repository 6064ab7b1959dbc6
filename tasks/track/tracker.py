"""Mining: one pass over a video that starts windows where things move and follows them over the gap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tasks.track.appearance import appearance_patches
from tasks.track.boxes import Box, box_iou
from tasks.track.camera import FrameMotion, grid_points, spread_corners
from tasks.track.config import TrackConfig
from tasks.track.crops import CONTEXT, context_crop, jpeg
from tasks.track.cuts import FrameLook, is_cut, is_light_step, look_of, with_light_of
from tasks.track.decode import DecodedFrame
from tasks.track.evidence import begin_evidence
from tasks.track.follow import BoxStep, Follower, step_with_camera
from tasks.track.frames import WorkingFrame, working_frame
from tasks.track.gates import FRAME_REASONS, TRACK_REASONS, frame_reason, is_faint, step_reason, track_reason
from tasks.track.motion import PointMotion
from tasks.track.proposals import Proposal, propose_windows
from tasks.track.rows import RejectedRow, RejectedSample, SourceBox, TrackPath, TrackRow

_DUPLICATE_IOU = 0.5
_SECONDS_SLACK = 1e-6  # times are fractions of a time base


@dataclass
class _Live:
    """A window on its way."""

    path: TrackPath
    box: Box
    anchor: np.ndarray  # its context crop; most are never stored, so none is encoded before
    faint_frames: int = 0


@dataclass(frozen=True)
class _Asked:
    """A frame whose motion was asked for: the camera's points (C, 2) come first, then the follower's."""

    frame: DecodedFrame
    working: WorkingFrame
    relit: np.ndarray | None  # (H, W) uint8 in the light of the frame before, where the light jumps
    camera_points: np.ndarray
    starts: bool
    is_cut: bool


@dataclass
class TrackMiner:
    """For every frame of a video, in order: `ask`, then `take`; at the end `finish`.

    Between the two somebody finds the points that `ask` returned, of the frame before, in the new frame: so one
    estimator serves many videos in one call. Memory is bounded: the last working frame, the windows on their way, and
    at most `max_tracks` finished tracks; where more are found, every second start is given up and starts become half
    as frequent, so that the tracks of a long video lie evenly over it.
    """

    video: str
    config: TrackConfig
    follower: Follower
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[int, TrackRow]] = field(default_factory=list)
    _rejected: RejectedSample = field(default_factory=RejectedSample)
    _live: dict[int, _Live] = field(default_factory=dict)
    _next_name: int = 0
    _every: int = 0
    _asked: _Asked | None = None
    _look: FrameLook | None = None

    @property
    def grey(self) -> np.ndarray:
        """The newest frame at working size: (H, W) uint8."""
        assert self._asked is not None, "ask comes first"
        return self._asked.working.grey

    @property
    def picture(self) -> np.ndarray:
        """The newest frame made small: (64, 64) uint8."""
        assert self._look is not None, "ask comes first"
        return self._look.picture

    @property
    def relit(self) -> np.ndarray | None:
        """The newest frame in the light of the one before, where the light jumps between the two."""
        assert self._asked is not None, "ask comes first"
        return self._asked.relit

    def ask(self, frame: DecodedFrame) -> np.ndarray:
        """Take the next frame; returns the points (N, 2) float32 of the one before whose motion `take` wants."""
        working = working_frame(frame, self.config.working_height_px, self.follower.needs_colour)
        self._every = self._every or self.config.start_every_frames
        before, self.counts["frames"] = self._asked, self.counts["frames"] + 1
        none = np.zeros((0, 2), np.float32)
        follows = before is not None and before.working.grey.shape == working.grey.shape
        if not follows:
            self._reject_all("resized")
            self._look = None
        before_look, self._look = self._look, look_of(working.grey)
        cut = before_look is not None and is_cut(before_look, self._look, self.config.cut_threshold)
        if cut:
            self._reject_all("crossed_cut")
        relit = None
        if before is not None and before_look is not None and is_light_step(before_look, self._look):
            relit = with_light_of(working.grey, before.working.grey)
        starts = follows and (working.index - 1) % self._every == 0
        camera_points = none
        if before is not None and follows and not cut:
            if starts:
                camera_points = spread_corners(before.working.grey)
            elif self._live and self.follower.needs_points:
                camera_points = grid_points(*working.grey.shape)
        self._asked = _Asked(frame, working, relit, camera_points, starts, cut)
        return np.concatenate([camera_points, self.follower.points()])

    def take(self, motion: PointMotion) -> None:
        """Move, end and start windows; `motion` is that of the points that `ask` returned."""
        asked = self._asked
        assert asked is not None, "ask comes first"
        camera, steps = step_with_camera(self.follower, asked.working, asked.camera_points, motion)
        if steps:
            self._step(asked, steps)
        if asked.starts:
            self._start(asked, camera)

    def finish(self) -> list[TrackRow]:
        """The tracks, by start frame; windows still on their way are rejected as `video_end`."""
        self._reject_all("video_end")
        rows = [row for _, row in sorted(self.rows, key=lambda entry: (entry[1]["start_frame"], entry[0]))]
        self.counts["tracks"] = len(rows)
        for name in ("starts", "windows", *(f"rejected_{reason}" for reason in (*FRAME_REASONS, *TRACK_REASONS))):
            self.counts.setdefault(name, 0)
        return rows

    def rejected(self) -> list[RejectedRow]:
        """A sample of the rejected tracks, by start frame."""
        return self._rejected.rows()

    def _start(self, asked: _Asked, camera: FrameMotion | str) -> None:
        self.counts["starts"] += 1
        working = asked.working
        proposals = "cut" if asked.is_cut else self._propose(camera, working)
        if isinstance(proposals, str):
            self.counts[f"rejected_{proposals}"] += 1
            return
        self.counts["windows"] += len(proposals)
        fresh = [(number, entry) for number, entry in enumerate(proposals) if not self._is_duplicate(entry, working)]
        self.counts["rejected_duplicate"] += len(proposals) - len(fresh)
        if not fresh:
            return
        pixels, frame = asked.frame.rgb(), asked.frame
        patches = appearance_patches(working.grey, [proposal.box for _, proposal in fresh])
        for (number, proposal), patch in zip(fresh, patches, strict=True):
            box, evidence = _in_source(proposal.box, working), begin_evidence(proposal.box, patch)
            path = TrackPath(
                self.video,
                self.config.estimator,
                number,
                working.index,
                frame.width,
                frame.height,
                proposal.moving_share,
                evidence,
                [box],
                [working.seconds],
            )
            self._live[self._next_name] = _Live(path, proposal.box, context_crop(pixels, box))
            self.follower.start(self._next_name, working, proposal.box)
            self._next_name += 1

    def _propose(self, camera: FrameMotion | str, working: WorkingFrame) -> list[Proposal] | str:
        if isinstance(camera, str):
            return camera
        config = self.config
        moving = np.linalg.norm(camera.residual, axis=1) > config.moving_threshold_px
        if reason := frame_reason(moving, config):
            return reason
        height, width = working.grey.shape
        proposals = propose_windows(
            camera, moving, (width, height), config.window_sides, config.windows_per_frame, config.centre_windows
        )
        return proposals or "no_window"

    def _is_duplicate(self, proposal: Proposal, working: WorkingFrame) -> bool:
        return any(
            working.index - live.path.start_frame < self.config.duplicate_frames
            and box_iou(proposal.box, live.box) > _DUPLICATE_IOU
            for live in self._live.values()
        )

    def _step(self, asked: _Asked, steps: Mapping[int, BoxStep]) -> None:
        working = asked.working
        patches = appearance_patches(working.grey, [step.box for step in steps.values()])
        due = []
        for (name, step), patch in zip(steps.items(), patches, strict=True):
            live = self._live[name]
            live.box = step.box
            live.faint_frames = live.faint_frames + 1 if is_faint(step, self.config) else 0
            live.path.evidence.add(step, patch)
            live.path.boxes.append(_in_source(step.box, working))
            live.path.seconds.append(working.seconds)
            if reason := step_reason(step, working.grey.shape, live.faint_frames, self.config):
                self._reject(name, reason)
            elif self._is_due(live.path):
                due.append(name)
        pixels = None
        for name in due:
            if reason := track_reason(self._live[name].path.evidence, self.config):
                self._reject(name, reason)
                continue
            pixels = asked.frame.rgb() if pixels is None else pixels
            self._keep(name, pixels)
        # Not before the last one that is due: thinning gives up windows on their way too.
        while len(self.rows) > self.config.max_tracks:
            self._thin()

    def _is_due(self, path: TrackPath) -> bool:
        if self.config.gap_seconds:
            return path.seconds[-1] - path.seconds[0] >= self.config.gap_seconds - _SECONDS_SLACK
        return len(path.boxes) > self.config.gap_frames

    def _keep(self, name: int, pixels: np.ndarray) -> None:
        live = self._forget(name)
        positive = context_crop(pixels, live.path.boxes[-1])
        row = TrackRow(**live.path.row(), anchor_jpeg=jpeg(live.anchor), positive_jpeg=jpeg(positive), context=CONTEXT)
        self.rows.append((live.path.number, row))

    def _thin(self) -> None:
        """Give up every second start; where only one is left, its last window."""
        starts = {row["start_frame"] for _, row in self.rows}
        if len(starts) == 1:
            self.rows.pop()
            self.counts["rejected_thinned"] += 1
            return
        self._every *= 2
        kept = [entry for entry in self.rows if (entry[1]["start_frame"] - 1) % self._every == 0]
        if not kept:  # all began between the starts that are left
            kept = [entry for entry in self.rows if entry[1]["start_frame"] in sorted(starts)[::2]]
        self.counts["rejected_thinned"] += len(self.rows) - len(kept)
        self.rows = kept
        for name in [name for name, live in self._live.items() if (live.path.start_frame - 1) % self._every]:
            self._reject(name, "thinned")

    def _reject_all(self, reason: str) -> None:
        for name in list(self._live):
            self._reject(name, reason)

    def _reject(self, name: int, reason: str) -> None:
        self._rejected.add(self._forget(name).path, reason)
        self.counts[f"rejected_{reason}"] += 1

    def _forget(self, name: int) -> _Live:
        self.follower.stop(name)
        return self._live.pop(name)


def _in_source(box: Box, working: WorkingFrame) -> SourceBox:
    """(x, y, width, height) in source px; a square stays one, since the aspect is kept to the nearest pixel only."""
    x, y = box.centre
    width, height = box.width * working.scale_y, box.height * working.scale_y
    return x * working.scale_x - width / 2, y * working.scale_y - height / 2, width, height
