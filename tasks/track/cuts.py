"""Shot cuts: how far apart the brightness histograms of two consecutive frames are."""

from __future__ import annotations

import cv2
import numpy as np

_NUM_BINS = 16
_GRID = 4  # histograms of 4 x 4 parts: a cut between two shots of like brightness still shows


def brightness_histogram(grey: np.ndarray) -> np.ndarray:
    """Histograms of the frame's sixteenths: (16, 16) float32, each sums to 1; `grey`: (H, W) uint8.

    Neighbouring bins are blended, so that a small change of light does not move a flat area's whole mass.
    """
    height, width = grey.shape
    parts = [
        grey[
            row * height // _GRID : (row + 1) * height // _GRID, column * width // _GRID : (column + 1) * width // _GRID
        ]
        for row in range(_GRID)
        for column in range(_GRID)
    ]
    counts = [cv2.calcHist([part], [0], None, [_NUM_BINS], [0, 256]).ravel() for part in parts]
    smooth = cv2.GaussianBlur(np.stack(counts), (5, 1), 1.0, borderType=cv2.BORDER_REPLICATE)
    shares: np.ndarray = smooth / np.maximum(smooth.sum(axis=1, keepdims=True), 1)
    return shares


def histogram_distance(previous: np.ndarray, following: np.ndarray) -> float:
    """Total variation between two frames' histograms, mean over parts: 0 (same) to 1 (nothing in common)."""
    return float(0.5 * np.abs(previous - following).sum(axis=1).mean())
