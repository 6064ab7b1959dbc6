"""Proposals: the windows of a frame that hold the most moving points."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.boxes import Box, box_iou
from tasks.track.camera import FrameMotion

MIN_MOVING_POINTS = 8  # in a window; fewer are noise, or leave no majority after some are lost
_STRIDE_PX = 4  # between the places that are tried
_MAX_OVERLAP = 0.3  # IoU of two windows that start in one frame
_CENTRING_STEPS = 8
_COHERENT_PX = 1.0  # points go one way where their motions differ less than this, or than half the motion
_COHERENT_SHARE = 0.5


@dataclass(frozen=True)
class Proposal:
    """A window to follow.

    points: (N, 2) float32, its moving points that go one way, nearest to its centre first.
    moving_share: moving points to all points in the window.
    """

    box: Box
    points: np.ndarray
    moving_share: float


def propose_windows(
    motion: FrameMotion, moving: np.ndarray, frame_size: tuple[int, int], side: int, max_windows: int
) -> list[Proposal]:
    """Up to `max_windows` squares with the most moving points, best first, hardly overlapping.

    moving: (N,) bool over the motion's points; frame_size: (width, height) in working px. The fixed window is
    slid over the frame to the place with most moving points (the paper's choice); since a small object lies
    inside many such places alike, and two objects may share one, it is then drawn to the densest spot. Points
    taken by one window do not count for the next.
    """
    width, height = frame_size
    side = min(side, width, height)
    free = moving.copy()
    chosen: list[Proposal] = []
    while len(chosen) < max_windows and free.sum() >= MIN_MOVING_POINTS:
        box = _centred(_best_place(motion.points[free], frame_size, side), motion.points[free], frame_size)
        inside = _inside(motion.points, box)
        taken = free & inside
        if taken.sum() < MIN_MOVING_POINTS:
            break
        if all(box_iou(box, other.box) <= _MAX_OVERLAP for other in chosen):
            share = float((moving & inside).sum() / inside.sum())
            chosen.append(Proposal(box, _coherent(motion.points[taken], motion.residual[taken], box), share))
        free &= ~inside
    return [proposal for proposal in chosen if len(proposal.points) >= MIN_MOVING_POINTS]


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
        weight = _centre_weight(points, box)
        if weight.sum() < 1e-3:
            break
        x, y = (weight[:, None] * points).sum(axis=0) / weight.sum() - box.side / 2
        box = _in_frame(float(x), float(y), box.side, frame_size)
    return box


def _coherent(points: np.ndarray, residual: np.ndarray, box: Box) -> np.ndarray:
    """The points (N, 2) whose motion is like that at the window's centre, nearest to the centre first."""
    distance = np.linalg.norm(points - np.array(box.centre), axis=1)
    order = np.argsort(distance, kind="stable")
    core = np.median(residual[order[: max(MIN_MOVING_POINTS, len(order) // 3)]], axis=0)
    deviation = np.linalg.norm(residual[order] - core, axis=1)
    alike = deviation <= max(_COHERENT_PX, _COHERENT_SHARE * float(np.linalg.norm(core)))
    kept: np.ndarray = points[order[alike]]
    return kept


def _centre_weight(points: np.ndarray, box: Box) -> np.ndarray:
    squared = ((points - np.array(box.centre)) ** 2).sum(axis=1)
    weight: np.ndarray = np.exp(-squared / (2 * (box.side / 4) ** 2))
    return weight


def _in_frame(x: float, y: float, side: float, frame_size: tuple[int, int]) -> Box:
    width, height = frame_size
    return Box(min(max(x, 0.0), width - side), min(max(y, 0.0), height - side), side)


def _inside(points: np.ndarray, box: Box) -> np.ndarray:
    low = (points[:, 0] >= box.x) & (points[:, 1] >= box.y)
    inside: np.ndarray = low & (points[:, 0] <= box.x + box.side) & (points[:, 1] <= box.y + box.side)
    return inside
