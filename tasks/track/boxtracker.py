"""Box trackers: they follow one box by how it looks, where estimators follow points by how they move."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from tasks.track.boxes import Box
from tasks.track.follow import BoxStep
from tasks.track.frames import WorkingFrame
from tasks.track.motion import PointMotion


class BoxTracker(Protocol):
    """Follows one box through the frames of a video; one object a box."""

    def start(self, bgr: np.ndarray, box: Box) -> None:
        """Learn a box of a frame ((H, W, 3) uint8, blue first); it covers at least one of the frame's pixels."""

    def update(self, bgr: np.ndarray) -> Box | None:
        """Where the box lies in the next frame, of the same size; None where it was not found."""


class BoxFollower:
    """Follows every box by a tracker of its own; errors, agreement and jolts are not measured and are NaN."""

    needs_colour = True
    needs_points = False

    def __init__(self, make_box_tracker: Callable[[], BoxTracker]) -> None:
        self._make = make_box_tracker
        self._trackers: dict[int, tuple[BoxTracker, Box]] = {}

    def start(self, name: int, frame: WorkingFrame, box: Box) -> None:
        """Begin to follow a box of a frame, which carries colour."""
        assert frame.bgr is not None, "frames for box trackers carry colour"
        tracker = self._make()
        tracker.start(frame.bgr, box)
        self._trackers[name] = (tracker, box)

    def points(self) -> np.ndarray:
        """None are wanted."""
        return np.zeros((0, 2), np.float32)

    def step(self, frame: WorkingFrame, motion: PointMotion, homography: np.ndarray | None) -> Mapping[int, BoxStep]:
        """Move every box; one that is not found keeps its place."""
        assert frame.bgr is not None, "frames for box trackers carry colour"
        steps = {}
        for name, (tracker, box) in self._trackers.items():
            moved = tracker.update(frame.bgr)
            self._trackers[name] = (tracker, moved or box)
            steps[name] = BoxStep(moved or box, math.nan, math.nan, math.nan, moved is not None)
        return steps

    def stop(self, name: int) -> None:
        """Forget a box."""
        del self._trackers[name]
