"""Dense inverse search (Kroeger et al. 2016), preset MEDIUM: FAST and ULTRAFAST drift too far over 30 frames."""

from __future__ import annotations

import functools

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
    flow: np.ndarray = _estimator().calc(previous, following, None)
    return flow


@functools.cache
def _estimator() -> cv2.DISOpticalFlow:
    estimator: cv2.DISOpticalFlow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator
