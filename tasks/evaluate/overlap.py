"""How much boxes share, and the suppression of those that share too much with a better one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]  # (N, 4): left, top, right, bottom in px from 0, the ends left out


def sized(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(N, 4) of left, top, right, bottom -> of left, top, width, height, as tables store them."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def edged(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """`sized` undone."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def overlaps(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Intersection over union (N, M) of boxes (N, 4) and others (M, 4); 0 where both are empty."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.maximum(high - low, 0).prod(axis=2)
    union = areas(boxes)[:, None] + areas(others)[None, :] - both
    return np.asarray(both / np.where(union > 0, union, 1), np.float32)


def areas(boxes: Boxes) -> npt.NDArray[np.float32]:
    """(N, 4) -> (N,) px."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float32)


def suppress(
    shared: npt.NDArray[np.float32], scores: npt.NDArray[np.floating], threshold: float, most: int
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: the places of the boxes that stay, by falling score, at most so many.

    shared: (N, N) overlaps of the boxes with each other, which all classes can use; scores: (N,). The best box stays
    and takes away those that overlap it by more than `threshold`, and so on. Equal scores go in order.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(waiting) and len(kept) < most:
        best = int(waiting[0])
        kept.append(best)
        waiting = waiting[1:]
        waiting = waiting[shared[best, waiting] <= threshold]
    return np.asarray(kept, np.int64)
