"""Hand-made features: histograms of oriented gradients with coarse colour, the floor that learning must beat."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SIDE_PX = 64
_CELL_PX = 16
_BINS = 9
_COLOUR_CELLS = 4


def hog_features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Features (B, 372) float32 of images (B, H, W, 3) uint8 RGB.

    Dalal and Triggs (CVPR 2005) at their proportions: 9 orientations, blocks of 2 x 2 cells that overlap by
    one cell, L2-Hys; 4 x 4 cells a patch give 324 numbers. Then the mean colours of 4 x 4 fields, 0 to 1.
    """
    block = 2 * _CELL_PX
    descriptor = cv2.HOGDescriptor(
        (_SIDE_PX, _SIDE_PX), (block, block), (_CELL_PX, _CELL_PX), (_CELL_PX, _CELL_PX), _BINS
    )
    rows = []
    for image in images:
        scaled = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
        gradients = np.asarray(descriptor.compute(scaled)).ravel()
        colours = cv2.resize(scaled, (_COLOUR_CELLS, _COLOUR_CELLS), interpolation=cv2.INTER_AREA).ravel() / 255
        rows.append(np.concatenate([gradients, colours]))
    return np.asarray(rows, np.float32)
