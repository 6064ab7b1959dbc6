"""Motion of points between two frames: the record that every estimator returns, and sampling of dense flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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

    def part(self, which: slice) -> PointMotion:
        """The motion of some of the points."""
        return PointMotion(self.points[which], self.error_px[which], self.found[which])


def no_motion() -> PointMotion:
    """The motion of no points."""
    return PointMotion(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, bool))


Prepared = TypeVar("Prepared")
"""A frame as an estimator wants it: a pyramid, or the pixels on a device."""


@dataclass(frozen=True)
class PointQuery(Generic[Prepared]):
    """Points of one frame to be found in the following one.

    points: (N, 2) float32, x and y in px, pixel centres at whole numbers.
    """

    previous: Prepared
    following: Prepared
    points: np.ndarray


class PointEstimator(Protocol[Prepared]):
    """Finds points of one frame in the next. It keeps a cache at most: equal queries have equal answers."""

    def prepare(self, grey: np.ndarray) -> Prepared:
        """What `follow` needs of a frame ((H, W) uint8), made once for the two queries that it takes part in."""

    def follow(self, queries: Sequence[PointQuery[Prepared]]) -> list[PointMotion]:
        """The motion of every query's points, all queries in one go; their frames may differ in size."""


DenseFlow = Callable[[Prepared, Prepared], np.ndarray]
"""Two prepared frames to the flow between them: (H, W, 2) float32, px."""


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


def follow_by_flow(dense_flow: DenseFlow[Prepared], queries: Sequence[PointQuery[Prepared]]) -> list[PointMotion]:
    """Follow points by dense flow, forward and back, read bilinearly at each point; one query after the other."""
    return [_follow(dense_flow, query) for query in queries]


def _follow(dense_flow: DenseFlow[Prepared], query: PointQuery[Prepared]) -> PointMotion:
    points = query.points
    if len(points) == 0:
        return no_motion()
    forward = dense_flow(query.previous, query.following)
    moved = points + _sample(forward, points)
    back = moved + _sample(dense_flow(query.following, query.previous), moved)
    return point_motion(forward[:, :, 0], points, moved, back)


def _sample(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Flow at points (N, 2), (N, 2) float32; outside the frame that of its nearest pixel, NaN where a point is NaN.

    cv2.remap takes at most 32,767 points and rounds their places to 1/32 px.
    """
    last = np.array(flow.shape[1::-1]) - 1
    known = np.isfinite(points).all(axis=1)
    at = np.clip(np.where(known[:, None], points, 0), 0, last)
    corner = np.floor(at).astype(np.intp)
    right, down = (at - corner).T[:, :, None]
    (x, y), (next_x, next_y) = corner.T, np.minimum(corner + 1, last).T
    above = (1 - right) * flow[y, x] + right * flow[y, next_x]
    below = (1 - right) * flow[next_y, x] + right * flow[next_y, next_x]
    values: np.ndarray = ((1 - down) * above + down * below).astype(np.float32)
    values[~known] = np.nan
    return values
