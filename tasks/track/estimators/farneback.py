"""Dense flow by polynomial expansion (Farneback), the flow of improved dense trajectories: accurate and slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np

from tasks.track.motion import PointMotion, PointQuery, follow_by_flow

Image = TypeVar("Image", np.ndarray, cv2.UMat)


class FarnebackEstimator:
    """Frames are used as they are: OpenCV expands both anew for each flow."""

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """The frame itself, (H, W) uint8."""
        return grey

    def follow(self, queries: Sequence[PointQuery[np.ndarray]]) -> list[PointMotion]:
        """The motion of every query's points, two flows a query."""
        return follow_by_flow(dense_flow, queries)


def make_estimator(device: str = "cpu") -> FarnebackEstimator:
    """The estimator; it runs on the CPU whatever the device."""
    return FarnebackEstimator()


def dense_flow(previous: Image, following: Image) -> Image:
    """The flow between two frames ((H, W) uint8): (H, W, 2) float32, px; of frames on a device it stays there."""
    # OpenCV's example values; a window of 15 px was the most accurate over 30 frames of those measured.
    flow: Image = cv2.calcOpticalFlowFarneback(
        previous, following, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
    return flow
