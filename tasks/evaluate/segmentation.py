"""Region similarity and boundary accuracy of masks, as DAVIS defines them.

Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation" (CVPR 2016), as the
official davis2017-evaluation computes them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]  # (H, W)

TOLERANCE = 0.008  # of the image's diagonal: the official `bound_th`


def region_similarity(predicted: Mask, truth: Mask) -> float:
    """J: intersection over union; 1 where both masks are empty."""
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def boundary_accuracy(predicted: Mask, truth: Mask) -> float:
    """F: the harmonic mean of how much of each boundary lies within `TOLERANCE` of the other; 1 where there is none."""
    mine, theirs = boundary(predicted), boundary(truth)
    num_mine, num_theirs = np.count_nonzero(mine), np.count_nonzero(theirs)
    if not num_mine or not num_theirs:
        return float(num_mine == num_theirs)
    reach_px = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    rows, columns = _about(mine | theirs)
    mine, theirs, disk = mine[rows, columns], theirs[rows, columns], _disk(reach_px)
    precision = np.count_nonzero(mine & _dilated(theirs, disk)) / num_mine
    recall = np.count_nonzero(theirs & _dilated(mine, disk)) / num_theirs
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Mask) -> Mask:
    """(H, W): pixels that differ from their right, lower or lower right neighbour (Martin's seg2bmap)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, across = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return np.asarray((mask ^ right) | (mask ^ below) | (mask ^ across), np.bool_)


def _about(mask: Mask) -> tuple[slice, slice]:
    """The smallest rectangle that holds all of a mask: what lies outside it meets nothing when it is dilated."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _disk(radius: int) -> npt.NDArray[np.uint8]:
    steps = np.arange(-radius, radius + 1) ** 2
    return (steps[:, None] + steps[None, :] <= radius**2).astype(np.uint8)


def _dilated(mask: Mask, element: npt.NDArray[np.uint8]) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), element), np.bool_)
