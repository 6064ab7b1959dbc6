"""Batches: decoded ahead of the network in one background thread, a few at most in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.train.augment import augment_draws, decode_patch
from tasks.train.config import TrainConfig
from tasks.train.order import batch_order, rank_slice
from tasks.train.pairs import PairTable

_BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch of B pairs, b of them its own.

    `images`: (2b, S, S, 3) uint8 RGB, anchors first, then their positives; `draws`: (2b, C) float64;
    `pairs` and `groups`: (B,) int64 of the whole batch; `epoch`: epochs done at its end.
    """

    images: NDArray[np.uint8]
    draws: NDArray[np.float64]
    pairs: NDArray[np.int64]
    groups: NDArray[np.int64]
    epoch: float


def batch_pairs(config: TrainConfig, table: PairTable) -> int:
    """Pairs in a global batch: as configured, or all of a smaller data set."""
    return min(config.pairs_per_batch, len(table))


def iterate_batches(
    table: PairTable, config: TrainConfig, seed: int, *, cursor: int, steps: int, rank: int, ranks: int
) -> Iterator[Batch]:
    """The next `steps` batches after `cursor` samples, for one of `ranks`; raises ValueError for a damaged patch."""
    cv2.setNumThreads(1)
    size = batch_pairs(config, table)
    cursors = iter(range(cursor, cursor + steps * size, size))
    ahead: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        try:
            for _ in range(steps):
                while len(ahead) < _BATCHES_AHEAD and (start := next(cursors, None)) is not None:
                    ahead.append(pool.submit(read_batch, table, config, seed, start, rank, ranks))
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_batch(table: PairTable, config: TrainConfig, seed: int, cursor: int, rank: int, ranks: int) -> Batch:
    """One rank's part of the global batch after `cursor` samples."""
    size = batch_pairs(config, table)
    order = batch_order(cursor, size, len(table), seed)
    own = rank_slice(size, rank, ranks)
    pairs, epochs = order.pairs[own], order.epochs[own]
    draws = np.concatenate([augment_draws(seed, epochs, pairs, view) for view in (0, 1)])
    side = config.input_px
    images = np.empty((2 * len(pairs), side, side, 3), np.uint8)
    for number, pair in enumerate(pairs):
        margin = float(table.margins[pair])
        for view, jpeg in enumerate(table.read(int(pair))):
            place = view * len(pairs) + number
            images[place] = decode_patch(jpeg, draws[place], config.augment, margin, side)
    return Batch(images, draws, order.pairs, table.groups[order.pairs], (cursor + size) / len(table))
