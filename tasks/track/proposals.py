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
    free = moving.copy()
    chosen: list[Proposal] = []
    while len(chosen) < max_windows and free.sum() >= MIN_MOVING_POINTS:
        candidates = [
            _best_window(motion, free, frame_size, min(side, width, height), centred) for side in dict.fromkeys(sides)
        ]
        best = max(candidates, key=lambda entry: (entry.num_alike >= MIN_MOVING_POINTS, entry.fit))
        inside = _inside(motion.points, best.box)
        if not (free & inside).any():
            break
        if best.num_alike >= MIN_MOVING_POINTS and all(box_iou(best.box, one.box) <= _MAX_OVERLAP for one in chosen):
            chosen.append(best)
        free &= ~inside
    return chosen


def _best_window(
    motion: FrameMotion, free: np.ndarray, frame_size: tuple[int, int], side: int, centred: bool
) -> Proposal:
    box = _best_place(motion.points[free], frame_size, side)
    if centred:
        box = _centred(box, motion.points[free], frame_size)
    inside = _inside(motion.points, box)
    taken, total = free & inside, max(1, int(inside.sum()))
    num_moving = int(taken.sum())
    num_alike = _num_coherent(motion, taken, box) if centred and num_moving else num_moving
    return Proposal(box, num_moving / total, num_alike, num_moving**2 / total)


def _best_place(points: np.ndarray, frame_size: tuple[int, int], side: int) -> Box:
    """The place, on a grid of 4 px, whose window holds most points; the first in reading order of equals."""
    width, height = frame_size
    columns, rows = -(-width // _STRIDE_PX), -(-height // _STRIDE_PX)
    cells = np.zeros((rows, columns), np.float32)
    at = np.minimum((points // _STRIDE_PX).astype(int), (columns - 1, rows - 1))
    np.add.at(cells, (at[:, 1], at[:, 0]), 1)
    total = cv2.integral(cells)
    span = min(max(1, side // _STRIDE_PX), rows, columns)
    counts = total[span:, span:] - total[:-span, span:] - total[span:, :-span] + total[:-span, :-span]
    row, column = np.unravel_index(int(np.argmax(counts)), counts.shape)
    return _in_frame(float(column * _STRIDE_PX), float(row * _STRIDE_PX), side, frame_size)


def _centred(box: Box, points: np.ndarray, frame_size: tuple[int, int]) -> Box:
    """Mean shift with a Gaussian of a quarter of the side: ends on one object where a window holds two."""
    for _ in range(_CENTRING_STEPS):
        squared = ((points - np.array(box.centre)) ** 2).sum(axis=1)
        weight = np.exp(-squared / (2 * (box.width / 4) ** 2))
        if weight.sum() < 1e-3:
            break
        x, y = (weight[:, None] * points).sum(axis=0) / weight.sum() - box.width / 2
        box = _in_frame(float(x), float(y), box.width, frame_size)
    return box


def _num_coherent(motion: FrameMotion, taken: np.ndarray, box: Box) -> int:
    """How many of the points go the way of those at the window's centre."""
    points, residual = motion.points[taken], motion.residual[taken]
    order = np.argsort(np.linalg.norm(points - np.array(box.centre), axis=1), kind="stable")
    core = np.median(residual[order[: max(MIN_MOVING_POINTS, len(order) // 3)]], axis=0)
    deviation = np.linalg.norm(residual - core, axis=1)
    return int((deviation <= max(_COHERENT_PX, _COHERENT_SHARE * float(np.linalg.norm(core)))).sum())


def _in_frame(x: float, y: float, side: float, frame_size: tuple[int, int]) -> Box:
    width, height = frame_size
    return square(min(max(x, 0.0), width - side), min(max(y, 0.0), height - side), side)


def _inside(points: np.ndarray, box: Box) -> np.ndarray:
    low = (points[:, 0] >= box.x) & (points[:, 1] >= box.y)
    inside: np.ndarray = low & (points[:, 0] <= box.x + box.width) & (points[:, 1] <= box.y + box.height)
    return inside
