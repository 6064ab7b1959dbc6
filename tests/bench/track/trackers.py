"""What follows the seeds: every estimator that runs here, and the plain ways and box trackers beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tasks.track.appearance import appearance_patches
from tasks.track.boxes import Box
from tasks.track.camera import grid_points
from tasks.track.cuts import FrameLook, is_light_step, look_of, with_light_of
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS
from tasks.track.evidence import Evidence, begin_evidence
from tasks.track.follow import BoxStep, Follower, PointFollower, step_with_camera
from tasks.track.frames import WorkingFrame
from tasks.track.motion import PointEstimator, PointMotion, PointQuery, no_motion
from tasks.track.variants import make_estimator, make_follower
from tests.bench.track.seeds import FULL_HEIGHT_PX, GAP, WORKING_HEIGHT_PX, Seed

_PLAIN_GRID = 10  # points across and down
_PLAIN_SPAN = 0.8  # of the box's sides
_MIN_POINTS = 4


@dataclass(frozen=True)
class Tracker:
    """A row of the table; `estimator` is None where no points are asked for, `clock` counts the seconds it takes."""

    name: str
    estimator: PointEstimator[Any] | None
    make_follower: Callable[[], Follower]
    height_px: int = WORKING_HEIGHT_PX
    clock: Callable[[], float] = time.process_time

    @property
    def is_box_tracker(self) -> bool:
        """Whether it costs by the box: each has a filter of its own."""
        return self.estimator is None and self.make_follower is not StaticFollower


@dataclass
class Followed:
    """One seed followed over the gap: a step a frame, and the looks of each frame and the one before it."""

    seed: Seed
    evidence: Evidence
    steps: list[BoxStep] = field(default_factory=list)
    looks: list[tuple[FrameLook, FrameLook]] = field(default_factory=list)

    @property
    def boxes(self) -> list[Box]:
        return [self.seed.box, *(step.box for step in self.steps)]


def available_trackers(names: Sequence[str], device: str = "cpu") -> tuple[list[Tracker], list[str]]:
    """The trackers whose first words are those names (none: all) and that run here, and why the others do not.

    Estimators on another device than the CPU are timed by the wall.
    """
    trackers, left_out = [], []
    for name in ESTIMATORS:
        if names and name not in names:
            continue
        try:
            clock = time.process_time if device == "cpu" and not name.startswith("opencl") else time.perf_counter
            trackers.append(Tracker(name, make_estimator(name, device), PointFollower, clock=clock))
        except ValueError as error:
            left_out.append(f"{name}: {error}")
    plain = Tracker("KLT with median motion", make_estimator("klt", "cpu"), MedianFollower)
    others = [plain, Tracker("static box", None, StaticFollower)]
    for name in BOX_TRACKERS:
        others.append(Tracker(name, None, _box_follower(name)))
        others.append(Tracker(f"{name} at full size", None, _box_follower(name), FULL_HEIGHT_PX))
    return trackers + [other for other in others if not names or other.name.split()[0] in names], left_out


def follow_seeds(
    frames: Sequence[WorkingFrame], seeds: Sequence[Seed], tracker: Tracker
) -> tuple[list[Followed], float, int]:
    """Follow all seeds of a sequence in lock-step, as the miner does; and the seconds and box steps that it took.

    Estimator, camera and follower are timed; decoding, appearance and evidence are not.
    """
    run = _Run(tracker)
    done: dict[int, Followed] = {}
    live: dict[int, Followed] = {}
    starts: dict[int, list[int]] = {}
    for name, seed in enumerate(seeds):
        starts.setdefault(seed.start, []).append(name)
    last, num_steps = max(starts, default=0) + GAP, 0
    for frame in frames[min(starts, default=0) : last + 1]:
        steps, looks = run.advance(frame)
        patches = appearance_patches(frame.grey, [step.box for step in steps.values()])
        num_steps += len(steps)
        for (name, step), patch in zip(steps.items(), patches, strict=True):
            live[name].steps.append(step)
            live[name].looks.append(looks)
            live[name].evidence.add(step, patch)
            if len(live[name].steps) == GAP:
                done[name] = live.pop(name)
                run.follower.stop(name)
        for name in starts.get(frame.index, ()):
            box = seeds[name].box
            live[name] = Followed(seeds[name], begin_evidence(box, appearance_patches(frame.grey, [box])[0]))
            run.start(name, frame, box)
    return [done[name] for name in range(len(seeds))], run.seconds, num_steps


class _Run:
    """One tracker on its way through one video, and the seconds that it has used."""

    def __init__(self, tracker: Tracker) -> None:
        self.follower, self._estimator, self._clock = tracker.make_follower(), tracker.estimator, tracker.clock
        self.seconds = 0.0
        self._prepared: Any = None
        self._look: FrameLook | None = None
        self._grey: np.ndarray | None = None

    def start(self, name: int, frame: WorkingFrame, box: Box) -> None:
        started = self._clock()
        self.follower.start(name, frame, box)
        self.seconds += self._clock() - started

    def advance(self, frame: WorkingFrame) -> tuple[Mapping[int, BoxStep], tuple[FrameLook, FrameLook]]:
        """Every box in the next frame, and the looks of that and of the frame before; a step of light is evened out."""
        look = look_of(frame.grey)
        before, relit = self._look or look, None
        # The plain way has nothing against light.
        if self._grey is not None and self.follower.needs_points and is_light_step(before, look):
            relit = with_light_of(frame.grey, self._grey)
        self._look, self._grey = look, frame.grey
        started = self._clock()
        steps = self._step(frame, relit)
        self.seconds += self._clock() - started
        return steps, (before, look)

    def _step(self, frame: WorkingFrame, relit: np.ndarray | None) -> Mapping[int, BoxStep]:
        if self._estimator is None:
            return self.follower.step(frame, no_motion(), None)
        previous, self._prepared = self._prepared, self._estimator.prepare(frame.grey)
        following = self._prepared if relit is None else self._estimator.prepare(relit)
        own = self.follower.points()
        if previous is None or len(own) == 0:
            return {}
        camera_points = grid_points(*frame.grey.shape) if self.follower.needs_points else own[:0]
        points = np.concatenate([camera_points, own])
        (motion,) = self._estimator.follow([PointQuery(previous, following, points)])
        return step_with_camera(self.follower, frame, camera_points, motion)[1]


class StaticFollower:
    """Leaves every box where it was."""

    needs_colour = False
    needs_points = False

    def __init__(self) -> None:
        self._boxes: dict[int, Box] = {}

    def start(self, name: int, frame: WorkingFrame, box: Box) -> None:
        self._boxes[name] = box

    def points(self) -> np.ndarray:
        return np.zeros((0, 2), np.float32)

    def step(self, frame: WorkingFrame, motion: PointMotion, homography: np.ndarray | None) -> Mapping[int, BoxStep]:
        nan = math.nan
        return {
            name: BoxStep(box, error_px=nan, agreement=nan, jolt_px=nan, found=True)
            for name, box in self._boxes.items()
        }

    def stop(self, name: int) -> None:
        del self._boxes[name]


class MedianFollower(StaticFollower):
    """The plain way: the median motion of a grid of points that were found; no camera, no check, no scale."""

    def points(self) -> np.ndarray:
        along = ((np.arange(_PLAIN_GRID) + 0.5) / _PLAIN_GRID - 0.5) * _PLAIN_SPAN
        x, y = (places.ravel() for places in np.meshgrid(along, along))
        grids = [
            np.stack([box.centre[0] + x * box.width, box.centre[1] + y * box.height], axis=1)
            for box in self._boxes.values()
        ]
        return np.concatenate([np.zeros((0, 2)), *grids]).astype(np.float32)

    def step(self, frame: WorkingFrame, motion: PointMotion, homography: np.ndarray | None) -> Mapping[int, BoxStep]:
        before, size = self.points(), _PLAIN_GRID**2
        for place, (name, box) in enumerate(self._boxes.items()):
            part = slice(place * size, (place + 1) * size)
            found = motion.found[part]
            if found.sum() >= _MIN_POINTS:
                x, y = np.median((motion.points[part] - before[part])[found], axis=0).tolist()
                self._boxes[name] = replace(box, x=box.x + x, y=box.y + y)
        return super().step(frame, motion, homography)


def _box_follower(name: str) -> Callable[[], Follower]:
    return lambda: make_follower(name)
