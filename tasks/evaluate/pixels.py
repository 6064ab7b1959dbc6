"""The simplest features of all: raw pixels and a histogram of colours, which any representation should beat."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SIDE_PX = 16
_BINS = 4  # of each channel
NUM_BINS = _BINS**3


def pixel_features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Features (B, 768) float32, 0 to 1, of images (B, H, W, 3) uint8 RGB: each scaled to 16 x 16 px."""
    small = [cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).ravel() for image in images]
    return np.asarray(small, np.float32) / np.float32(255)


def colour_bins(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The bin (H, W) of each pixel of (H, W, 3) RGB, 0 to `NUM_BINS` - 1: so many equal parts of each channel."""
    return np.asarray((image // (256 // _BINS)).astype(np.int64) @ np.array([_BINS**2, _BINS, 1]))


def colour_features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Features (B, 64) float32 of images (B, H, W, 3) uint8 RGB: the square roots of the shares of their pixels in
    4 x 4 x 4 bins, so that cosines compare histograms as Hellinger's distance does."""
    rows = []
    for image in images:
        bins = colour_bins(image).ravel()
        rows.append(np.bincount(bins, minlength=NUM_BINS) / len(bins))
    return np.sqrt(np.asarray(rows)).astype(np.float32)
