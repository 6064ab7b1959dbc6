"""Regions of an image as a network takes them: warped to its square input, with a rim of context, as R-CNN does."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from tasks.evaluate.overlap import Boxes
from tasks.networks.images import MEAN_RGB

Regions = npt.NDArray[np.uint8]  # (B, side, side, 3), RGB

# Girshick et al. (CVPR 2014), appendix A: 16 px of context about a region that is warped to 227 px. Inputs of another
# side have as large a share.
_CONTEXT_SHARE = 16 / 227
_MEAN = np.round(MEAN_RGB).astype(np.uint8)


def warp_regions(image: npt.NDArray[np.uint8], boxes: Boxes, side_px: int) -> Regions:
    """(H, W, 3) uint8 and boxes (B, 4) -> (B, side_px, side_px, 3); the boxes' proportions are not kept."""
    regions = np.empty((len(boxes), side_px, side_px, 3), np.uint8)
    for place, box in enumerate(boxes):
        regions[place] = warp_region(image, box, side_px)
    return regions


def warp_region(image: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], side_px: int) -> npt.NDArray[np.uint8]:
    """One region: the box fills the square but for a rim of context; beyond the image's edge stands the mean colour."""
    left, top, right, bottom = (float(end) for end in box)
    height, width = image.shape[:2]
    columns, across = _placed(*_widened(left, right, side_px), width, side_px)
    rows, down = _placed(*_widened(top, bottom, side_px), height, side_px)
    canvas = np.empty((side_px, side_px, 3), np.uint8)
    canvas[:] = _MEAN
    inside = image[rows, columns]
    size = (across.stop - across.start, down.stop - down.start)
    if inside.size and min(size) > 0:
        shrinks = inside.shape[1] >= size[0] and inside.shape[0] >= size[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        canvas[down, across] = cv2.resize(inside, size, interpolation=interpolation)
    return canvas


def _widened(low: float, high: float, side_px: int) -> tuple[int, int]:
    """An interval of the image (px) that fills the square with its context; at least a pixel."""
    half = (high - low) / 2 * side_px / (side_px - 2 * round(_CONTEXT_SHARE * side_px))
    centre = (low + high) / 2
    start = math.floor(centre - half + 0.5)
    return start, max(start + 1, math.floor(centre + half + 0.5))


def _placed(low: int, high: int, length: int, side_px: int) -> tuple[slice, slice]:
    """The part of an interval that lies in an image of `length`, and where it goes in the square."""
    first, last = min(max(0, low), length), min(max(0, high), length)
    scale = side_px / (high - low)
    return slice(first, last), slice(round((first - low) * scale), round((last - low) * scale))
