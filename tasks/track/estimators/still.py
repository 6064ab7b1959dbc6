"""No tracking: the box stays where it is. What a tracker adds is measured against the same place some frames later."""

from __future__ import annotations

import numpy as np

from tasks.track.boxes import Box

# Windows start where things move; Lucas-Kanade measures that.
from tasks.track.estimators.klt import make_estimator as make_estimator


class StillTracker:
    """One box, never lost."""

    def start(self, bgr: np.ndarray, box: Box) -> None:
        """Keep a box; the frame ((H, W, 3) uint8) is not looked at."""
        self._box = box

    def update(self, bgr: np.ndarray) -> Box:
        """The same box."""
        return self._box


def make_box_tracker() -> StillTracker:
    """A tracker of one box."""
    return StillTracker()
