"""Followers: move many boxes from one frame to the next. The one here moves them by the points inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from tasks.track.boxes import Box
from tasks.track.frames import WorkingFrame
from tasks.track.motion import FollowPoints

MAX_POINTS = 24  # a box: more cost time and hardly steady the median
MIN_POINTS = 5  # fewer do not vote for a motion
_POINT_ERROR_PX = 1.5  # a point whose way back ends farther off is on an occluder or has slid along an edge
_OUTLIER_PX = 1.0  # least deviation from the median motion that makes a point leave: it is on something else
_OUTLIER_DEVIATIONS = 4.0
_REPLENISH_SHARE = 0.6  # of the first points; below it new corners are taken from among the survivors
_SCALE_SPREAD_PX = 12.0  # points this near to each other say half as much of the scale: their distances are noisy
_MAX_SCALE_STEP = 1.05  # a frame
_MAX_SCALE = 2.0  # a track


@dataclass(frozen=True)
class BoxStep:
    """A box after one frame: `error_px` is the median forward-backward error of its points; `found` False: lost."""

    box: Box
    error_px: float
    found: bool


class Follower(Protocol):
    """Follows named boxes from frame to frame, all of them in one `step`."""

    needs_colour: bool

    def start(self, name: int, frame: WorkingFrame, box: Box, points: np.ndarray) -> None:
        """Begin to follow a box; `points` (N, 2) float32 lie on what moves inside it."""

    def step(self, previous: WorkingFrame, following: WorkingFrame) -> Mapping[int, BoxStep]:
        """Move every box from `previous` to `following`."""

    def stop(self, name: int) -> None:
        """Forget a box."""


@dataclass
class _Followed:
    box: Box
    points: np.ndarray  # (N, 2) float32
    first_side: float
    first_points: int


class PointFollower:
    """Moves a box by the median motion of its points, and scales it by the median ratio of their distances.

    The points of all boxes go through the estimator in one call a frame.
    """

    needs_colour = False

    def __init__(self, follow_points: FollowPoints) -> None:
        self._follow_points = follow_points
        self._boxes: dict[int, _Followed] = {}

    def start(self, name: int, frame: WorkingFrame, box: Box, points: np.ndarray) -> None:
        """Begin to follow a box by the first `MAX_POINTS` of its points: (N, 2) float32, best first."""
        points = points[:MAX_POINTS]
        self._boxes[name] = _Followed(box, points.astype(np.float32), box.side, len(points))

    def step(self, previous: WorkingFrame, following: WorkingFrame) -> Mapping[int, BoxStep]:
        """Move every box; one is lost where fewer than `MIN_POINTS` points agree on its motion."""
        if not self._boxes:
            return {}
        points = np.concatenate([followed.points for followed in self._boxes.values()])
        motion = self._follow_points(previous.grey, following.grey, points)
        steps, begin = {}, 0
        for name, followed in self._boxes.items():
            part = slice(begin, begin + len(followed.points))
            begin = part.stop
            steps[name] = _move(followed, motion.points[part], motion.error_px[part], following.grey)
        return steps

    def stop(self, name: int) -> None:
        """Forget a box."""
        del self._boxes[name]


def _move(followed: _Followed, moved: np.ndarray, error_px: np.ndarray, grey: np.ndarray) -> BoxStep:
    error = float(np.median(error_px)) if len(error_px) else np.inf
    agreed = error_px <= _POINT_ERROR_PX
    if agreed.sum() < MIN_POINTS:
        return BoxStep(followed.box, error, False)
    agreed[agreed] = _with_the_median(moved[agreed] - followed.points[agreed])
    if agreed.sum() < MIN_POINTS:
        return BoxStep(followed.box, error, False)
    before, after = followed.points[agreed], moved[agreed]
    followed.box = _moved_box(followed, before, after)
    followed.points = after
    if len(after) < _REPLENISH_SHARE * followed.first_points:
        followed.points = _replenished(after, followed.first_points, grey)
    return BoxStep(followed.box, error, True)


def _with_the_median(shift: np.ndarray) -> np.ndarray:
    """Which of the motions (N, 2) go with the median one: (N,) bool."""
    deviation = np.linalg.norm(shift - np.median(shift, axis=0), axis=1)
    kept: np.ndarray = deviation <= max(_OUTLIER_PX, _OUTLIER_DEVIATIONS * float(np.median(deviation)))
    return kept


def _moved_box(followed: _Followed, before: np.ndarray, after: np.ndarray) -> Box:
    """Median translation and scale; the scale acts about the points' centre, which need not be the box's."""
    box = followed.box
    ratio = np.clip(_distance_ratio(before, after), 1 / _MAX_SCALE_STEP, _MAX_SCALE_STEP)
    side = float(np.clip(box.side * ratio, followed.first_side / _MAX_SCALE, followed.first_side * _MAX_SCALE))
    shift = np.median(after - before, axis=0)
    arm = (np.array(box.centre) - before.mean(axis=0)) * (side / box.side - 1)
    x, y = np.array(box.centre) + shift + arm - side / 2
    return Box(float(x), float(y), side)


def _distance_ratio(before: np.ndarray, after: np.ndarray) -> float:
    """Median over pairs of points of the distance after to the distance before, drawn to 1 for crowded points.

    Pairs nearer than 4 px say nothing. Drawing it to 1 took the median error of the scale after 30 frames on
    the generated world from 0.16 to 0.10 (natural logarithm).
    """
    one, other = np.triu_indices(len(before), 1)
    old = np.linalg.norm(before[one] - before[other], axis=1)
    new = np.linalg.norm(after[one] - after[other], axis=1)
    far = old >= 4
    if not far.any():
        return 1.0
    spread = float(np.median(old[far]))
    trust = spread / (spread + _SCALE_SPREAD_PX)
    return float(np.power(np.median(new[far] / old[far]), trust))


def _replenished(points: np.ndarray, num: int, grey: np.ndarray) -> np.ndarray:
    """New corners from the hull of the surviving points, which lies on the object: (N, 2) float32."""
    height, width = grey.shape
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 2, 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 3, (width, height))
    corner = np.array([left, top], np.float32)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points - corner).astype(np.int32)), 255)
    for x, y in np.rint(points - corner).astype(int):
        cv2.circle(mask, (int(x), int(y)), 3, 0, -1)  # not beside a point that is followed already
    found = cv2.goodFeaturesToTrack(
        np.ascontiguousarray(grey[top:bottom, left:right]), num - len(points), 0.01, 3, mask=mask
    )
    if found is None:
        return points
    return np.concatenate([points, found.reshape(-1, 2) + corner])
