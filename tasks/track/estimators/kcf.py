"""Kernelised correlation filter (Henriques et al. 2015), the paper's tracker: boxes of fixed size, no check."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from tasks.track.boxes import Box

# KCF follows boxes only: the camera's motion is measured by the points of Lucas-Kanade.
from tasks.track.estimators.klt import follow_points as follow_points
from tasks.track.follow import BoxStep, Follower
from tasks.track.frames import WorkingFrame


def make_follower() -> Follower:
    """A follower of boxes, each by a filter of its own."""
    return FilterFollower()


class FilterFollower:
    """One correlation filter a box, on colour frames; forward-backward error is not measured and stays 0."""

    needs_colour = True

    def __init__(self) -> None:
        self._filters: dict[int, tuple[cv2.TrackerKCF, Box]] = {}

    def start(self, name: int, frame: WorkingFrame, box: Box, points: np.ndarray) -> None:
        """Begin to follow a box; `points` are not used."""
        assert frame.bgr is not None, "frames for KCF carry colour"
        corner = (round(box.x), round(box.y), round(box.side), round(box.side))
        correlation = cv2.TrackerKCF.create()
        correlation.init(frame.bgr, corner)
        self._filters[name] = (correlation, Box(float(corner[0]), float(corner[1]), float(corner[2])))

    def step(self, previous: WorkingFrame, following: WorkingFrame) -> Mapping[int, BoxStep]:
        """Move every box to the following frame."""
        assert following.bgr is not None, "frames for KCF carry colour"
        steps = {}
        for name, (correlation, box) in self._filters.items():
            found, moved = correlation.update(following.bgr)
            if found:
                box = Box(float(moved[0]), float(moved[1]), box.side)
                self._filters[name] = (correlation, box)
            steps[name] = BoxStep(box, 0.0, bool(found))
        return steps

    def stop(self, name: int) -> None:
        """Forget a box."""
        del self._filters[name]
