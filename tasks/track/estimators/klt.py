"""Sparse pyramidal Lucas-Kanade (Bouguet): the fastest estimator, and the default."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tasks.track.motion import PointMotion, PointQuery, point_motion

_WINDOW_PX = 11  # px; of 11, 15 and 21 the fastest, and on the generated world the one that left objects least
_LEVELS = 3
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03)
_MIN_EIGENVALUE = 1e-4  # OpenCV's default


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
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
        criteria=_CRITERIA,
        minEigThreshold=_MIN_EIGENVALUE,
    )
    lost = ~known | (status.ravel() == 0)
    ended: np.ndarray = np.where(lost[:, None], np.nan, moved.reshape(-1, 2)).astype(np.float32)
    return ended
