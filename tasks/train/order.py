"""The order of samples: a pure function of (seed, epoch), the same for any number of ranks; its state is one cursor."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.train.randomness import ORDER, hashed


@dataclass(frozen=True)
class BatchOrder:
    """The pairs of one global batch: `pairs` (B,) int64 rows of the pair table, `epochs` (B,) int64."""

    pairs: NDArray[np.int64]
    epochs: NDArray[np.int64]


def batch_order(cursor: int, batch_pairs: int, num_pairs: int, seed: int) -> BatchOrder:
    """The global batch after `cursor` samples; it runs over an epoch's end into the next one.

    Every pair comes exactly once an epoch.
    """
    positions = np.arange(cursor, cursor + batch_pairs)
    epochs = positions // num_pairs
    pairs = np.empty(batch_pairs, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        pairs[inside] = _permutation(seed, int(epoch), num_pairs)[positions[inside] % num_pairs]
    return BatchOrder(pairs, epochs)


def rank_slice(batch_pairs: int, rank: int, ranks: int) -> slice:
    """The part of a global batch that one rank works on; parts differ by one pair at most."""
    return slice(batch_pairs * rank // ranks, batch_pairs * (rank + 1) // ranks)


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_pairs: int) -> NDArray[np.int64]:
    return np.argsort(hashed(ORDER, seed, epoch, np.arange(num_pairs)), kind="stable").astype(np.int64)
