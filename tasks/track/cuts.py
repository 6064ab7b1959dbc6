"""Shot cuts and steps of light: how far apart two consecutive frames look."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_NUM_BINS = 16
_GRID = 4  # histograms of 4 x 4 parts: a cut between two shots of like brightness still shows
_THUMBNAIL_PX = (32, 24)
# Over the generated world and the real clips, frames on both sides of a cut correlated below 0.6, mostly about 0, and
# those on both sides of a step of light above 0.88.
_SAME_PICTURE = 0.85
_OTHER_PICTURE = 0.2  # then half the histogram distance is enough for a cut
_LIGHT_DISTANCE = 0.1  # between neighbours of one shot it stays below 0.04 while the light is steady


@dataclass(frozen=True)
class FrameLook:
    """What tells a frame from the next: histograms of its sixteenths (16, 16) float32, each sums to 1, and a thumbnail
    of zero mean and unit length (768,) float32, all zero where the frame is flat."""

    histogram: np.ndarray
    thumbnail: np.ndarray


def look_of(grey: np.ndarray) -> FrameLook:
    """The look of a frame ((H, W) uint8)."""
    small = cv2.resize(grey, _THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return FrameLook(_brightness_histogram(grey), small / length if length > 1e-3 else np.zeros_like(small))


def is_cut(before: FrameLook, after: FrameLook, threshold: float) -> bool:
    """Whether a shot ends between two frames; `threshold` is a histogram distance, 1 finds none.

    Brightness that jumps while the picture stays is a step of light, and no cut.
    """
    if threshold >= 1:
        return False
    distance, alike = histogram_distance(before, after), float(before.thumbnail @ after.thumbnail)
    return (distance > threshold and alike < _SAME_PICTURE) or (distance > threshold / 2 and alike < _OTHER_PICTURE)


def is_light_step(before: FrameLook, after: FrameLook) -> bool:
    """Whether the light jumps between two frames that show the same."""
    same = float(before.thumbnail @ after.thumbnail) >= _SAME_PICTURE
    return same and histogram_distance(before, after) > _LIGHT_DISTANCE


def histogram_distance(before: FrameLook, after: FrameLook) -> float:
    """Total variation between two frames' histograms, mean over parts: 0 (same) to 1 (nothing in common)."""
    return float(0.5 * np.abs(before.histogram - after.histogram).sum(axis=1).mean())


def with_light_of(grey: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """A frame ((H, W) uint8) with the mean and the contrast of another, so that points are found over a step of light.

    Optical flow takes brightness to be constant: at such a step it found 0 to 12 % of the points.
    """
    gain = float(wanted.std()) / max(float(grey.std()), 1.0)
    shifted = (grey.astype(np.float32) - grey.mean()) * gain + wanted.mean()
    relit: np.ndarray = np.clip(np.rint(shifted), 0, 255).astype(np.uint8)
    return relit


def _brightness_histogram(grey: np.ndarray) -> np.ndarray:
    """Histograms of the frame's sixteenths: (16, 16) float32.

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
