"""Motion of points between two frames: the record that every estimator returns, and sampling of dense flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class PointMotion:
    """Where N points of the previous frame lie in the following one.

    points: (N, 2) float32, x and y in px; a point that was not found keeps its old place.
    error_px: (N,) float32, distance to the start after going forward and back; infinite where not found.
    found: (N,) bool; False where the estimator failed or the point left the frame.
    """

    points: np.ndarray
    error_px: np.ndarray
    found: np.ndarray


FollowPoints = Callable[[np.ndarray, np.ndarray, np.ndarray], PointMotion]
"""(previous (H, W) uint8 grey, following likewise, points (N, 2) float32) to their motion."""

DenseFlow = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two (H, W) uint8 grey frames to the flow between them: (H, W, 2) float32, px."""


def point_motion(previous: np.ndarray, points: np.ndarray, moved: np.ndarray, back: np.ndarray) -> PointMotion:
    """Judge points that were followed forward (`moved`) and back again (`back`); all (N, 2) float32, NaN: lost."""
    height, width = previous.shape
    error = np.linalg.norm(back - points, axis=1).astype(np.float32)
    inside = (moved >= 0).all(axis=1) & (moved[:, 0] <= width - 1) & (moved[:, 1] <= height - 1)
    found = inside & np.isfinite(error)
    return PointMotion(
        points=np.where(found[:, None], moved, points).astype(np.float32),
        error_px=np.where(found, error, np.inf).astype(np.float32),
        found=found,
    )


def follow_by_flow(
    dense_flow: DenseFlow, previous: np.ndarray, following: np.ndarray, points: np.ndarray
) -> PointMotion:
    """Follow points by dense flow, forward and back, read bilinearly at each point."""
    if len(points) == 0:
        return point_motion(previous, points, points, points)
    moved = points + _sample(dense_flow(previous, following), points)
    back = moved + _sample(dense_flow(following, previous), moved)
    return point_motion(previous, points, moved, back)


def _sample(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    at = points.astype(np.float32).reshape(-1, 1, 2)
    # cv2.remap takes at most 32,767 rows; a frame never holds as many points.
    values: np.ndarray = cv2.remap(flow, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(-1, 2)
