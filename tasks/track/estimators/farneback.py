"""Dense flow by polynomial expansion (Farneback), the flow of improved dense trajectories: accurate and slow."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.track.follow import Follower, PointFollower
from tasks.track.motion import PointMotion, follow_by_flow


def follow_points(previous: np.ndarray, following: np.ndarray, points: np.ndarray) -> PointMotion:
    """Follow points forward and back; frames (H, W) uint8 grey, points (N, 2) float32 px."""
    return follow_by_flow(_flow, previous, following, points)


def make_follower() -> Follower:
    """A follower of boxes by their points."""
    return PointFollower(follow_points)


def _flow(previous: np.ndarray, following: np.ndarray) -> np.ndarray:
    # OpenCV's example values; a window of 15 px was the most accurate over 30 frames of those measured.
    flow: np.ndarray = cv2.calcOpticalFlowFarneback(
        previous, following, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
    return flow
