"""Bootstrap intervals of a mean over items that come in clusters (the patches or tracks of one video)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95

Statistic = Callable[[npt.NDArray[np.int64]], float]
"""A metric of N items, of which each was drawn so often (N,)."""
_BLOCK = 1 << 22  # resampled counts held at once


@dataclass(frozen=True)
class Interval:
    """A mean over all items with its interval; no interval (None) where there are too few clusters."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Resampled:
    """A statistic of all items, and of each resample (S,), whose draws are those of any other with the same seed."""

    value: float
    draws: npt.NDArray[np.float64]

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.value - other.value, self.draws - other.draws)

    def interval(self) -> Interval:
        """The percentile interval; draws without a value (NaN) are left out, and none is given by fewer than two."""
        known = self.draws[np.isfinite(self.draws)]
        if len(known) < 2:
            return Interval(self.value, None, None)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(self.value, float(low), float(high))


def resample(statistic: Statistic, num_items: int, samples: int, seed: int) -> Resampled:
    """A statistic of so many items and of `samples` draws of as many with replacement; no draws of fewer than two."""
    draws = [statistic(drawn) for drawn in draw_items(num_items, samples, seed)]
    return Resampled(statistic(np.ones(num_items, np.int64)), np.asarray(draws, np.float64))


def draw_items(num_items: int, samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each item was drawn (N,), for each of `samples` draws of as many items; none of fewer than two."""
    rng = np.random.default_rng(seed)
    even = np.full(num_items, 1 / max(1, num_items))
    for _ in range(samples if num_items > 1 else 0):
        yield rng.multinomial(num_items, even)


def draw_columns(num_items: int, samples: int, seed: int) -> npt.NDArray[np.float32]:
    """The draws of `draw_items` side by side (N, S), for statistics that take many at once."""
    draws = list(draw_items(num_items, samples, seed))
    return np.ascontiguousarray(np.reshape(draws, (-1, num_items)).T, np.float32)


def cluster_interval(
    values: npt.NDArray[np.floating], clusters: npt.NDArray[np.integer], samples: int, seed: int
) -> Interval:
    """The interval of `resample_means`."""
    return resample_means(values, clusters, samples, seed).interval()


def resample_means(
    values: npt.NDArray[np.floating], clusters: npt.NDArray[np.integer], samples: int, seed: int
) -> Resampled:
    """The mean of `values` (N,), and that of resamples by cluster.

    `clusters` (N,) names each value's cluster. Patches of one video are near copies of each other, so that
    whole clusters are drawn, with replacement, as many as there are; a draw's statistic is the mean over all
    its items. Fewer than two clusters give no draws. Raises ValueError where there are no values.
    """
    if len(values) == 0 or len(values) != len(clusters):
        raise ValueError(f"{len(values)} values and {len(clusters)} clusters; an interval needs one cluster a value")
    _, index = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    sums = np.bincount(index, weights=np.asarray(values, np.float64))
    value = float(sums.sum() / sizes.sum())
    num_clusters = len(sizes)
    if num_clusters < 2:
        return Resampled(value, np.zeros(0))
    rng = np.random.default_rng(seed)
    even = np.full(num_clusters, 1 / num_clusters)
    means = []
    step = max(1, _BLOCK // num_clusters)
    for first in range(0, samples, step):
        drawn = rng.multinomial(num_clusters, even, size=min(step, samples - first))
        means.append((drawn @ sums) / (drawn @ sizes))
    return Resampled(value, np.concatenate(means))
