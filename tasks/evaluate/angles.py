"""Angles between predicted and true normals, kept image by image, and the usual figures of any draw of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.evaluate.depth import Normals

Counts = npt.NDArray[np.int64]  # (N,): how often each image is drawn
Doubles = npt.NDArray[np.float64]

THRESHOLDS = (11.25, 22.5, 30.0)  # degrees; Fouhey et al. (ICCV 2013)
_BINS_A_DEGREE = 20  # of the median, which is exact to as much
_BINS = 180 * _BINS_A_DEGREE + 1


def angles_between(predicted: Normals, true: Normals) -> Doubles:
    """Degrees between vectors (..., 3). By atan2, since near 0 an arc cosine loses half of its digits."""
    first, second = predicted.astype(np.float64), true.astype(np.float64)
    across = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.asarray(np.degrees(np.arctan2(across, (first * second).sum(axis=-1))), np.float64)


@dataclass(frozen=True)
class Angles:
    """What is kept of one image's angles, over its known pixels."""

    num_pixels: int
    total: float
    total_squared: float
    below: tuple[int, ...]
    histogram: npt.NDArray[np.int32]

    @property
    def mean(self) -> float:
        return self.total / self.num_pixels


def summarise(angles: Doubles) -> Angles:
    """The summary of an image's angles (P,), in degrees."""
    bins = np.minimum((angles * _BINS_A_DEGREE).astype(np.int64), _BINS - 1)
    return Angles(
        len(angles),
        float(angles.sum()),
        float((angles**2).sum()),
        tuple(int((angles < threshold).sum()) for threshold in THRESHOLDS),
        np.bincount(bins, minlength=_BINS).astype(np.int32),
    )


def statistics(images: list[Angles]) -> Mapping[str, Callable[[Counts], float]]:
    """By name, each figure of all pixels of a draw of the images, in degrees or as a share of 1."""
    pixels = np.array([one.num_pixels for one in images], np.float64)

    def ratio(values: list[float]) -> Callable[[Counts], float]:
        column = np.array(values, np.float64)
        return lambda drawn: float(drawn @ column / (drawn @ pixels))

    squares = ratio([one.total_squared for one in images])
    histograms = np.stack([one.histogram for one in images]).astype(np.float64)
    return {
        "mean angle": ratio([one.total for one in images]),
        "median angle": lambda drawn: _median(drawn.astype(np.float64) @ histograms),
        "RMSE": lambda drawn: float(np.sqrt(squares(drawn))),
        **{f"below {at:g}°": ratio([one.below[place] for one in images]) for place, at in enumerate(THRESHOLDS)},
    }


def _median(histogram: Doubles) -> float:
    """Where half of the pixels lie below, even within a bin."""
    reached = np.cumsum(histogram)
    half = reached[-1] / 2
    place = int(np.searchsorted(reached, half))
    before = reached[place - 1] if place else 0.0
    return float((place + (half - before) / histogram[place]) / _BINS_A_DEGREE)
