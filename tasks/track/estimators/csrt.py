"""Correlation filter with channel and spatial reliability (Lukezic et al. 2017): boxes that scale, the slowest."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.track.boxes import Box

# It follows boxes only: the camera's motion is measured by Lucas-Kanade.
from tasks.track.estimators.klt import make_estimator as make_estimator


class CsrtTracker:
    """One filter; boxes in whole pixels."""

    def start(self, bgr: np.ndarray, box: Box) -> None:
        """Learn a box of a frame ((H, W, 3) uint8, blue first)."""
        self._filter = cv2.TrackerCSRT.create()
        self._filter.init(bgr, (round(box.x), round(box.y), max(1, round(box.width)), max(1, round(box.height))))

    def update(self, bgr: np.ndarray) -> Box | None:
        """Where the box lies in the next frame; None where the filter answers too weakly."""
        found, (x, y, width, height) = self._filter.update(bgr)
        return Box(float(x), float(y), float(width), float(height)) if found else None


def make_box_tracker() -> CsrtTracker:
    """A tracker of one box."""
    return CsrtTracker()
