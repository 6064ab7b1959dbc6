"""Proposals: the windows of a frame that hold the most moving points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.boxes import Box, box_iou, square
from tasks.track.camera import FrameMotion

MIN_MOVING_POINTS = 8  # in a window; fewer are noise
_STRIDE_PX = 4  # between the places that are tried
_MAX_OVERLAP = 0.3  # IoU of two windows that start in one frame
_CENTRING_STEPS = 8
_COHERENT_PX = 1.0  # points go one way where their motions differ less than this, or than half the motion
_COHERENT_SHARE = 0.5


@dataclass(frozen=True)
class Proposal:
    """A window to follow.

    moving_share: moving points to all points in it; num_alike: how many move, where windows are centred one way.
    fit: moving points times their share, by which windows of several sizes compare.
    """

    box: Box
    moving_share: float
    num_alike: int
    fit: float


def propose_windows(
    motion: FrameMotion,
    moving: np.ndarray,
    frame_size: tuple[int, int],
    sides: Sequence[int],
    max_windows: int,
    centred: bool = True,
) -> list[Proposal]:
    """Up to `max_windows` squares with the most moving points, best first, hardly overlapping.

    moving: (N,) bool over the motion's points; frame_size: (width, height) and `sides` in working px. A window of
    each size is slid over the frame to the place with most moving points (the paper's choice, with one size). Where
    `centred`, it is then drawn to the densest spot, since a small object lies inside many such places alike and two
    objects may share one, and must hold enough points that go the way of its middle. Of the sizes the one wins whose
    moving points times their share of all its points are most: it fits what moves. To count there only points that
    go one way found more windows on parts of things that turn, and fewer of them ended right (0.78 for 0.86). Points
    taken by one window do not count for the next.
    """
    width, height = frame_size
    sides = [*dict.fromkeys(min(side, width, height) for side in sides)]
    free = moving.copy()
    chosen: list[Proposal] = []
    while len(chosen) < max_windows and free.sum() >= MIN_MOVING_POINTS:
        best, inside = _best_window(motion, free, frame_size, sides, centred)
        if not (free & inside).any():
            break
        if best.num_alike >= MIN_MOVING_POINTS and all(box_iou(best.box, one.box) <= _MAX_OVERLAP for one in chosen):
            chosen.append(best)
        free &= ~inside
    return chosen


def _best_window(
    motion: FrameMotion, free: np.ndarray, frame_size: tuple[int, int], sides: Sequence[int], centred: bool
) -> tuple[Proposal, np.ndarray]:
    """Of the best places of each size the one that fits best, and which points (N,) bool lie in it.

    One that holds too few points that go one way is taken only where every size does.
    """
    across, down = motion.points.T
    lengths = np.array(sides, float)
    corners = _best_places(motion.points[free], frame_size, sides)
    if centred:
        corners = _centred(corners, lengths, motion.points[free], frame_size)
    (left, top), length = corners.T[:, :, None], lengths[:, None]
    inside = (across >= left) & (down >= top) & (across <= left + length) & (down <= top + length)  # (S, N)
    num_points, num_moving = inside.sum(axis=1), (free & inside).sum(axis=1)
    fit = num_moving**2 / np.maximum(num_points, 1)
    found: list[tuple[Proposal, np.ndarray]] = []
    for place in np.argsort(-fit, kind="stable"):
        (x, y), side = corners[place].tolist(), float(lengths[place])
        box = square(x, y, side)
        num_alike = int(num_moving[place])
        if centred and num_alike:
            num_alike = _num_coherent(motion, free & inside[place], box)
        share = float(num_moving[place]) / max(int(num_points[place]), 1)
        found.append((Proposal(box, share, num_alike, float(fit[place])), inside[place]))
        if num_alike >= MIN_MOVING_POINTS:
            return found[-1]
    return found[0]


def _best_places(points: np.ndarray, frame_size: tuple[int, int], sides: Sequence[int]) -> np.ndarray:
    """For each size the place, on a grid of 4 px, whose window holds most points: corners (S, 2).

    The first in reading order of equals.
    """
    width, height = frame_size
    columns, rows = -(-width // _STRIDE_PX), -(-height // _STRIDE_PX)
    at = np.minimum((points / _STRIDE_PX).astype(int), (columns - 1, rows - 1))
    cells = np.bincount(at[:, 1] * columns + at[:, 0], minlength=rows * columns).reshape(rows, columns)
    total = cv2.integral(cells.astype(np.float32))
    corners = []
    for side in sides:
        span = min(max(1, side // _STRIDE_PX), rows, columns)
        counts = total[span:, span:] - total[:-span, span:] - total[span:, :-span] + total[:-span, :-span]
        row, column = divmod(int(np.argmax(counts)), counts.shape[1])
        corners.append((min(column * _STRIDE_PX, width - side), min(row * _STRIDE_PX, height - side)))
    return np.array(corners, float)


def _centred(corners: np.ndarray, lengths: np.ndarray, points: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Mean shift with a Gaussian of a quarter of the side: ends on one object where a window holds two.

    corners: (S, 2) of windows of `lengths` (S,) px; points: (N, 2). Returns the corners afterwards.
    """
    half = lengths[:, None] / 2
    low, high = half, np.array(frame_size, float) - half  # of centres, (S, 2)
    sums = np.column_stack([points, np.ones(len(points))])  # (N, 3): what is summed under the weights
    across, down = np.ascontiguousarray(sums[:, :2].T)
    sharpness, centres = -1 / (2 * (half / 2) ** 2), corners + half
    for _ in range(_CENTRING_STEPS):
        weight = np.exp(sharpness * ((across - centres[:, :1]) ** 2 + (down - centres[:, 1:]) ** 2))  # (S, N)
        total = weight @ sums
        means = np.minimum(np.maximum(total[:, :2] / np.maximum(total[:, 2:], 1e-3), low), high)
        centres = np.where(total[:, 2:] < 1e-3, centres, means)
    return centres - half


def _num_coherent(motion: FrameMotion, taken: np.ndarray, box: Box) -> int:
    """How many of the points go the way of those at the window's centre."""
    across, down = motion.points[taken].T
    residual = motion.residual[taken]
    x, y = box.centre
    order = ((across - x) ** 2 + (down - y) ** 2).argsort(kind="stable")
    core = residual[order[: max(MIN_MOVING_POINTS, len(order) // 3)]]
    core.sort(axis=0)
    median = (core[(len(core) - 1) // 2] + core[len(core) // 2]) / 2
    deviation = np.hypot(*(residual - median).T)
    return int((deviation <= max(_COHERENT_PX, _COHERENT_SHARE * float(np.hypot(*median)))).sum())
