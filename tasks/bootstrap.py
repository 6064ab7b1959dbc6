"""Bootstrap intervals of a mean over items that come in clusters (the patches or tracks of one video)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
_BLOCK = 1 << 22  # resampled counts held at once


@dataclass(frozen=True)
class Interval:
    """A mean over all items with its interval; no interval (None) where there are too few clusters."""

    value: float
    low: float | None
    high: float | None


def cluster_interval(
    values: npt.NDArray[np.floating], clusters: npt.NDArray[np.integer], samples: int, seed: int
) -> Interval:
    """The mean of `values` (N,) and its percentile bootstrap interval, resampled by cluster.

    `clusters` (N,) names each value's cluster. Patches of one video are near copies of each other, so that
    whole clusters are drawn, with replacement, as many as there are; a draw's statistic is the mean over all
    its items. Fewer than two clusters give no interval. Raises ValueError where there are no values.
    """
    if len(values) == 0 or len(values) != len(clusters):
        raise ValueError(f"{len(values)} values and {len(clusters)} clusters; an interval needs one cluster a value")
    _, index = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    sums = np.bincount(index, weights=np.asarray(values, np.float64))
    value = float(sums.sum() / sizes.sum())
    num_clusters = len(sizes)
    if num_clusters < 2:
        return Interval(value, None, None)
    rng = np.random.default_rng(seed)
    even = np.full(num_clusters, 1 / num_clusters)
    means = []
    step = max(1, _BLOCK // num_clusters)
    for first in range(0, samples, step):
        drawn = rng.multinomial(num_clusters, even, size=min(step, samples - first))
        means.append((drawn @ sums) / (drawn @ sizes))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(value, float(low), float(high))
