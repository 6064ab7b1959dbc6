"""Sparse pyramidal Lucas-Kanade (Bouguet): the fastest estimator, and the default."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tasks.track.lk import MAX_STEPS, MIN_EIGENVALUE, NUM_HALVINGS, STEP_PX, WINDOW_PX
from tasks.track.motion import PointMotion, PointQuery, point_motion

_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, MAX_STEPS, STEP_PX)


class KltEstimator:
    """Frames are used as they are: OpenCV's Python functions take no pyramid that was built before (5.0)."""

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """The frame itself, (H, W) uint8."""
        return grey

    def follow(self, queries: Sequence[PointQuery[np.ndarray]]) -> list[PointMotion]:
        """The motion of every query's points, forward and back; one query after the other."""
        return [_follow(query.previous, query.following, query.points) for query in queries]


def make_estimator(device: str = "cpu") -> KltEstimator:
    """The estimator; it runs on the CPU whatever the device."""
    return KltEstimator()


def _follow(previous: np.ndarray, following: np.ndarray, points: np.ndarray) -> PointMotion:
    if len(points) == 0:
        return point_motion(previous, points, points, points)
    moved = _step(previous, following, points)
    return point_motion(previous, points, moved, _step(following, previous, moved))


def _step(previous: np.ndarray, following: np.ndarray, points: np.ndarray) -> np.ndarray:
    known = np.isfinite(points).all(axis=1)
    start = np.where(known[:, None], points, 0).astype(np.float32)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        previous,
        following,
        start.reshape(-1, 1, 2),
        None,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=NUM_HALVINGS,
        criteria=_CRITERIA,
        minEigThreshold=MIN_EIGENVALUE,
    )
    lost = ~known | (status.ravel() == 0)
    ended: np.ndarray = np.where(lost[:, None], np.nan, moved.reshape(-1, 2)).astype(np.float32)
    return ended
