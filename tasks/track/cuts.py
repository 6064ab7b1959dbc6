"""Shot cuts and steps of light: how far apart two consecutive frames look."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.frames import small_picture

_BIN_BITS = 4  # of a grey value that its bin leaves out
_NUM_BINS = 256 >> _BIN_BITS
_GRID = 4  # histograms of 4 x 4 parts: a cut between two shots of like brightness still shows
_THUMBNAIL_PX = 32
# Over the generated world and the real clips, frames on both sides of a cut correlated below 0.6, mostly about 0, and
# those on both sides of a step of light above 0.88.
_SAME_PICTURE = 0.85
_OTHER_PICTURE = 0.2  # then half the histogram distance is enough for a cut
_LIGHT_DISTANCE = 0.1  # between neighbours of one shot it stays below 0.04 while the light is steady


@dataclass(frozen=True)
class FrameLook:
    """What tells a frame from the next.

    histogram: of its sixteenths, (16, 16) float32, each sums to 1. picture: the frame made small, (64, 64) uint8.
    thumbnail: smaller yet, of zero mean and unit length, (1024,) float32, all zero where the frame is flat.
    """

    histogram: np.ndarray
    picture: np.ndarray
    thumbnail: np.ndarray


def look_of(grey: np.ndarray) -> FrameLook:
    """The look of a frame ((H, W) uint8)."""
    picture = small_picture(grey)
    thumbnail = cv2.resize(picture, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    values = thumbnail.astype(np.float32).ravel() - thumbnail.mean(dtype=np.float32)
    length = float(np.linalg.norm(values))
    values = values / length if length > 1e-3 else np.zeros_like(values)
    return FrameLook(_brightness_histogram(grey), picture, values)


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


@functools.lru_cache(maxsize=8)
def _first_bins(height: int, width: int) -> np.ndarray:
    """For every pixel the first of its sixteenth's sixteen bins: (H, W) uint8."""
    rows, columns = (((np.arange(side) + 1) * _GRID - 1) // side for side in (height, width))
    return ((rows[:, None] * _GRID + columns) * _NUM_BINS).astype(np.uint8)


def _brightness_histogram(grey: np.ndarray) -> np.ndarray:
    """Histograms of the frame's sixteenths: (16, 16) float32.

    Neighbouring bins are blended, so that a small change of light does not move a flat area's whole mass.
    """
    sorted_in = _first_bins(*grey.shape) | grey >> _BIN_BITS
    counts = cv2.calcHist([sorted_in], [0], None, [256], [0, 256]).reshape(_GRID * _GRID, _NUM_BINS)
    smooth = cv2.GaussianBlur(counts, (5, 1), 1.0, borderType=cv2.BORDER_REPLICATE)
    shares: np.ndarray = smooth / np.maximum(smooth.sum(axis=1, keepdims=True), 1)
    return shares
