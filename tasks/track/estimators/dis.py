"""Dense inverse search (Kroeger et al. 2016), preset MEDIUM: FAST and ULTRAFAST drift too far over 30 frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tasks.track.motion import PointMotion, PointQuery, follow_by_flow

# At half size, the finest that MEDIUM looks at, a patch of 8 px fits. OpenCV 5.0 refuses smaller frames only where
# both sides are below 12 px, and crashes or gives NaN on some others.
_MIN_SIDE_PX = 16


class DisEstimator:
    """Frames are used as they are; the flow's buffers are kept from call to call."""

    def __init__(self) -> None:
        self._dis = make_dis()

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """The frame itself, (H, W) uint8."""
        return grey

    def follow(self, queries: Sequence[PointQuery[np.ndarray]]) -> list[PointMotion]:
        """The motion of every query's points, two flows a query."""
        return follow_by_flow(self._flow, queries)

    def _flow(self, previous: np.ndarray, following: np.ndarray) -> np.ndarray:
        height, width = previous.shape
        flow: np.ndarray = self._dis.calc(padded(previous), padded(following), None)
        return flow[:height, :width]


def make_estimator(device: str = "cpu") -> DisEstimator:
    """The estimator; it runs on the CPU whatever the device."""
    return DisEstimator()


def make_dis() -> cv2.DISOpticalFlow:
    """OpenCV's flow; its `calc(previous, following, None)` takes `padded` frames, arrays or cv2.UMat."""
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def padded(grey: np.ndarray) -> np.ndarray:
    """A frame ((H, W) uint8) that is large enough for the flow: repeats the last row and column where it was not."""
    height, width = grey.shape
    if min(height, width) >= _MIN_SIDE_PX:
        return grey
    rows, columns = max(0, _MIN_SIDE_PX - height), max(0, _MIN_SIDE_PX - width)
    return np.pad(grey, ((0, rows), (0, columns)), mode="edge")
