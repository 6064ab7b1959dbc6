"""Batches: read and decoded ahead of the network by a few threads, with a few batches at most in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.train.augment import augment_draws
from tasks.train.config import TrainConfig
from tasks.train.order import batch_order, rank_slice, window_at
from tasks.train.samples import Samples

_BATCHES_AHEAD = 2  # besides one a thread


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch of B samples of V images, b of them its own.

    `images`: (V b, S, S, 3) uint8 RGB, of pairs anchors first, then their positives; `draws`: (V b, C) float64;
    `pairs` and `groups`: (B,) int64 of the whole batch; `far_away`: (B, B) bool, which of its pairs of one video show
    different things, or None where negatives come from other videos alone; `epoch`: epochs done at its end.
    """

    images: NDArray[np.uint8]
    draws: NDArray[np.float64]
    pairs: NDArray[np.int64]
    groups: NDArray[np.int64]
    far_away: NDArray[np.bool_] | None
    epoch: float


def batch_pairs(config: TrainConfig, table: Samples) -> int:
    """Samples in a global batch: as configured, or all of a smaller data set."""
    return min(config.pairs_per_batch, len(table))


def iterate_batches(
    table: Samples, config: TrainConfig, seed: int, *, cursor: int, steps: int, rank: int, ranks: int
) -> Iterator[Batch]:
    """The next `steps` batches after `cursor` samples, for one of `ranks`; raises as `read_batch` does."""
    cv2.setNumThreads(1)
    size, workers = batch_pairs(config, table), config.loader_workers
    cursors = iter(range(cursor, cursor + steps * size, size))
    ahead: deque[tuple[int, Future[Batch]]] = deque()
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool,
        ThreadPoolExecutor(1, thread_name_prefix="prefetch") as prefetcher,
    ):
        prefetch = _Prefetch(table, seed, prefetcher, cursor, cursor + steps * size)
        try:
            for _ in range(steps):
                while len(ahead) < workers + _BATCHES_AHEAD and (start := next(cursors, None)) is not None:
                    prefetch.reach(start + size)
                    ahead.append((start, pool.submit(read_batch, table, config, seed, start, rank, ranks)))
                start, future = ahead.popleft()
                batch = future.result()
                prefetch.leave(start + size)
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            prefetcher.shutdown(wait=True, cancel_futures=True)


def read_batch(table: Samples, config: TrainConfig, seed: int, cursor: int, rank: int, ranks: int) -> Batch:
    """One rank's part of the global batch after `cursor` samples; raises as the samples' `decode` does."""
    size = batch_pairs(config, table)
    order = batch_order(cursor, size, table.layout, seed)
    own = rank_slice(size, rank, ranks)
    pairs, epochs = order.pairs[own], order.epochs[own]
    draws = np.stack([augment_draws(seed, epochs, pairs, view) for view in range(table.views)])
    side = config.input_px
    images = np.empty((table.views, len(pairs), side, side, 3), np.uint8)
    for number, pair in enumerate(pairs.tolist()):
        table.decode(pair, draws[:, number], config, images[:, number])
    return Batch(
        images.reshape(-1, side, side, 3),
        draws.reshape(-1, draws.shape[2]),
        order.pairs,
        table.groups[order.pairs],
        table.far_away(order.pairs),
        (cursor + size) / len(table),
    )


class _Prefetch:
    """Has a thread fetch the shards of the round that is read and of the next, and read the next window's blocks ahead.

    Shards of rounds that are over are released. An error is met again, and raised, where the shard is read.
    """

    def __init__(self, table: Samples, seed: int, thread: ThreadPoolExecutor, begin: int, end: int) -> None:
        self._table, self._seed, self._thread = table, seed, thread
        self._end = end  # cursor after the last batch
        self._rounds: deque[tuple[int, list[int]]] = deque()  # asked for, as (cursor at its end, shards)
        self._jobs: list[tuple[int, Future[object]]] = []  # (cursor after which it is of no use, job)
        self._round, self._next_round = -1, begin  # cursors where the last round asked for and the one after begin
        self._window, self._next_window = -1, begin

    def reach(self, cursor: int) -> None:
        """Batches up to `cursor` samples are about to be read."""
        table, layout = self._table, self._table.layout
        while self._round < cursor and self._next_round < self._end:
            window = window_at(self._next_round, layout, self._seed)
            shards = window.round_shards.tolist()
            self._jobs += [(window.round_end, self._thread.submit(table.fetch, shard)) for shard in shards]
            self._rounds.append((window.round_end, shards))
            self._round, self._next_round = self._next_round, window.round_end
        while self._window < cursor and self._next_window < self._end:
            window = window_at(self._next_window, layout, self._seed)
            self._jobs.append((window.end, self._thread.submit(table.will_need, window.blocks.tolist())))
            self._window, self._next_window = self._next_window, window.end

    def leave(self, cursor: int) -> None:
        """Batches up to `cursor` samples have been read."""
        for end, job in self._jobs:
            if end <= cursor:
                job.cancel()
        self._jobs = [(end, job) for end, job in self._jobs if end > cursor and not job.done()]
        while self._rounds and self._rounds[0][0] <= cursor:
            _, shards = self._rounds.popleft()
            self._table.release(set(shards).difference(*(others for _, others in self._rounds)))
