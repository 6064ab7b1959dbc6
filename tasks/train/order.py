"""The order of samples: a pure function of (seed, epoch, data set version), the same for any number of ranks.

An epoch is cut into rounds of a few random shards, a round into windows of a few hundred random blocks, and a block is
a row of pairs that lie side by side in a shard. The pairs of a window come in random order, one by one or in short
runs. So a batch mixes many videos, while what is read lies in few shards at a time, and each block is needed in one
window only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.train.randomness import ORDER, hashed

# 16 pairs cut from photographs are 0.14 MB at 64 px and 0.73 MB at 227 px, a window of them 71 and 373 MB. Distinct
# videos in a batch of 64, of 64 shards of 64 videos of 100 pairs (a uniform shuffle of all pairs: 63.5): windows of
# 128, 256, 512 and 1,024 blocks give 50.8, 56.1, 59.0 and 60.5; rounds of 8, 16 and 32 shards 57.4, 59.0 and 59.9.
BLOCK_PAIRS = 16
WINDOW_BLOCKS = 512
ROUND_SHARDS = 16

# What a draw orders: the number after the epoch's, so that no two draws share their numbers.
_SHARDS, _BLOCKS, _PAIRS = range(3)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a pair table is cut: block k is its rows starts[k] to starts[k + 1], and lies in shard shards[k].

    `starts` (K + 1,) and `shards` (K,) int64; the rows of a shard lie side by side, as its pairs do in the tar. So many
    pairs as `run_pairs` of a block stay together in the order.
    """

    starts: NDArray[np.int64]
    shards: NDArray[np.int64]
    window_blocks: int
    round_shards: int
    run_pairs: int = 1

    @property
    def num_pairs(self) -> int:
        return int(self.starts[-1])


@dataclass(frozen=True)
class BatchOrder:
    """The pairs of one global batch: `pairs` (B,) int64 rows of the pair table, `epochs` (B,) int64."""

    pairs: NDArray[np.int64]
    epochs: NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """What is read together. `end` and `round_end`: the cursors where the window and its round end.

    `blocks` (W,) and `round_shards` (R,) int64, in the order of the table.
    """

    end: int
    round_end: int
    blocks: NDArray[np.int64]
    round_shards: NDArray[np.int64]


def cut_layout(
    shards: NDArray[np.int64],
    *,
    block_pairs: int = BLOCK_PAIRS,
    window_blocks: int = WINDOW_BLOCKS,
    round_shards: int = ROUND_SHARDS,
    run_pairs: int = 1,
) -> Layout:
    """Cut a pair table into blocks; `shards` (N,) is each row's shard, ascending from 0 without gaps."""
    first = np.flatnonzero(np.diff(shards, prepend=-1))  # of each shard
    lengths = np.diff(first, append=len(shards))
    inside = np.arange(len(shards)) - np.repeat(first, lengths)
    starts = np.flatnonzero(inside % block_pairs == 0)
    return Layout(np.append(starts, len(shards)), shards[starts], window_blocks, round_shards, run_pairs)


def batch_order(cursor: int, batch_pairs: int, layout: Layout, seed: int) -> BatchOrder:
    """The global batch after `cursor` samples; it runs over an epoch's end into the next one.

    Every pair comes exactly once an epoch.
    """
    pairs, filled = np.empty(batch_pairs, np.int64), 0
    while filled < batch_pairs:
        epoch, place = divmod(cursor + filled, layout.num_pairs)
        plan = _plan_epoch(layout, seed, epoch)
        window = plan.window_at(place)
        part = _window_pairs(layout, seed, epoch, window)[place - int(plan.window_starts[window]) :]
        part = part[: batch_pairs - filled]
        pairs[filled : filled + len(part)] = part
        filled += len(part)
    return BatchOrder(pairs, np.arange(cursor, cursor + batch_pairs) // layout.num_pairs)


def window_at(cursor: int, layout: Layout, seed: int) -> Window:
    """The window that the sample after `cursor` ones belongs to."""
    epoch, place = divmod(cursor, layout.num_pairs)
    plan, begun = _plan_epoch(layout, seed, epoch), epoch * layout.num_pairs
    window = plan.window_at(place)
    number = int(plan.rounds[window])
    last = int(np.searchsorted(plan.rounds, number, side="right"))  # the window after the round
    return Window(
        end=begun + int(plan.window_starts[window + 1]),
        round_end=begun + int(plan.window_starts[last]),
        blocks=np.sort(plan.blocks(window)),
        round_shards=np.flatnonzero(plan.shard_rounds == number),
    )


def rank_slice(batch_pairs: int, rank: int, ranks: int) -> slice:
    """The part of a global batch that one rank works on; parts differ by one pair at most."""
    return slice(batch_pairs * rank // ranks, batch_pairs * (rank + 1) // ranks)


@dataclass(frozen=True)
class _EpochPlan:
    """One epoch: its blocks in order, cut into V windows, each of one round.

    `sequence` (K,) blocks; `first_blocks` (V + 1,) places in it and `window_starts` (V + 1,) samples of the epoch
    where windows begin; `rounds` (V,) of the windows; `shard_rounds` (S,) of the shards.
    """

    sequence: NDArray[np.int64]
    first_blocks: NDArray[np.int64]
    window_starts: NDArray[np.int64]
    rounds: NDArray[np.int64]
    shard_rounds: NDArray[np.int64]

    def window_at(self, place: int) -> int:
        """The window that a sample of the epoch belongs to."""
        return int(np.searchsorted(self.window_starts, place, side="right")) - 1

    def blocks(self, window: int) -> NDArray[np.int64]:
        return self.sequence[self.first_blocks[window] : self.first_blocks[window + 1]]


@functools.lru_cache(maxsize=4)
def _plan_epoch(layout: Layout, seed: int, epoch: int) -> _EpochPlan:
    num_shards, num_blocks = int(layout.shards[-1]) + 1, len(layout.shards)
    num_rounds = -(-num_shards // layout.round_shards)
    drawn = np.argsort(hashed(ORDER, seed, epoch, _SHARDS, np.arange(num_shards)), kind="stable")
    shard_rounds = np.empty(num_shards, np.int64)
    shard_rounds[drawn] = np.arange(num_shards) * num_rounds // num_shards  # rounds of equal size
    block_rounds = shard_rounds[layout.shards]
    sequence = np.lexsort((hashed(ORDER, seed, epoch, _BLOCKS, np.arange(num_blocks)), block_rounds))
    counts = np.bincount(block_rounds)
    num_windows = -(-counts // layout.window_blocks)  # of each round, and those of equal size too
    inside = np.arange(num_blocks) - np.repeat(np.cumsum(counts) - counts, counts)
    windows = np.repeat(np.cumsum(num_windows) - num_windows, counts)
    windows += inside * np.repeat(num_windows, counts) // np.repeat(counts, counts)
    first_blocks = np.searchsorted(windows, np.arange(int(num_windows.sum()) + 1))
    ends = np.cumsum(np.diff(layout.starts)[sequence])
    window_starts = np.append(0, ends)[first_blocks]
    rounds = np.repeat(np.arange(num_rounds), num_windows)
    return _EpochPlan(sequence, first_blocks, window_starts, rounds, shard_rounds)


@functools.lru_cache(maxsize=4)
def _window_pairs(layout: Layout, seed: int, epoch: int, window: int) -> NDArray[np.int64]:
    """The pairs of a window in the order that they come in."""
    blocks = _plan_epoch(layout, seed, epoch).blocks(window)
    lengths = layout.starts[blocks + 1] - layout.starts[blocks]
    inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pairs = np.repeat(layout.starts[blocks], lengths) + inside
    runs = pairs - inside % layout.run_pairs  # each by its first pair
    ordered: NDArray[np.int64] = pairs[np.argsort(hashed(ORDER, seed, epoch, _PAIRS, runs), kind="stable")]
    return ordered
