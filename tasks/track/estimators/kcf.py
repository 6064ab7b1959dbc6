"""Kernelised correlation filter (Henriques et al. 2015), the paper's tracker: boxes of fixed size, no check."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.track.boxes import Box

# It follows boxes only: the camera's motion is measured by Lucas-Kanade.
from tasks.track.estimators.klt import make_estimator as make_estimator


class KcfTracker:
    """One filter; it learns whole pixels inside the frame, and the box keeps its size and its fraction of a pixel."""

    def start(self, bgr: np.ndarray, box: Box) -> None:
        """Learn a box of a frame ((H, W, 3) uint8, blue first)."""
        height, width = bgr.shape[:2]
        left, top = max(0, round(box.x)), max(0, round(box.y))
        right, bottom = min(width, round(box.x + box.width)), min(height, round(box.y + box.height))
        assert min(right - left, bottom - top) > 0, f"{box} covers no pixel of a frame of {width} x {height}"
        self._box, self._learned = box, (left, top)
        self._filter = cv2.TrackerKCF.create()
        self._filter.init(bgr, (left, top, right - left, bottom - top))

    def update(self, bgr: np.ndarray) -> Box | None:
        """Where the box lies in the next frame; None where the filter answers too weakly."""
        found, (x, y, _, _) = self._filter.update(bgr)
        if not found:
            return None
        box, (left, top) = self._box, self._learned
        return Box(box.x + x - left, box.y + y - top, box.width, box.height)


def make_box_tracker() -> KcfTracker:
    """A tracker of one box."""
    return KcfTracker()
