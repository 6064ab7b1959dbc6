"""The order of samples, for any sizes of shards, blocks, windows and rounds, any cursor and any number of ranks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.train.order import Layout, batch_order, cut_layout, rank_slice, window_at
from tasks.train.randomness import ORDER, hashed

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=9)  # pairs of each shard


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    return cut_layout(
        shards_of(draw(sizes)),
        block_pairs=draw(st.integers(1, 20)),
        window_blocks=draw(st.integers(1, 12)),
        round_shards=draw(st.integers(1, 5)),
        run_pairs=draw(st.integers(1, 6)),
    )


def shards_of(pairs: list[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(pairs)), pairs)


def whole_epoch(layout: Layout, seed: int, epoch: int) -> NDArray[np.int64]:
    return batch_order(epoch * layout.num_pairs, layout.num_pairs, layout, seed).pairs


@settings(deadline=None)
@given(layouts(), st.integers(0, 2**40), st.integers(0, 2**20), st.integers(1, 200), st.integers(0, 3))
def test_every_pair_comes_once_an_epoch(layout: Layout, seed: int, epoch: int, batch: int, shift: int) -> None:
    """Also where batches do not divide the epoch and begin anywhere."""
    begin = epoch * layout.num_pairs + shift
    steps = -(-3 * layout.num_pairs // batch)
    orders = [batch_order(begin + step * batch, batch, layout, seed) for step in range(steps)]
    pairs, epochs = (np.concatenate([getattr(order, name) for order in orders]) for name in ("pairs", "epochs"))
    assert np.array_equal(epochs, np.arange(begin, begin + steps * batch) // layout.num_pairs)
    for whole in np.unique(epochs)[1:-1]:
        assert sorted(pairs[epochs == whole]) == list(range(layout.num_pairs))


@settings(deadline=None)
@given(layouts(), st.integers(0, 9), st.integers(0, 500), st.integers(1, 100), st.integers(1, 9), st.integers(1, 9))
def test_a_cursor_is_all_the_state(
    layout: Layout, seed: int, cursor: int, batch: int, ranks: int, other_ranks: int
) -> None:
    """One batch, asked for whole or in two parts, by any number of ranks, is the same samples in the same order."""
    whole = batch_order(cursor, batch, layout, seed).pairs
    cut = batch // 2
    if cut:
        halves = [batch_order(cursor, cut, layout, seed), batch_order(cursor + cut, batch - cut, layout, seed)]
        assert np.array_equal(np.concatenate([half.pairs for half in halves]), whole)
    for number in (ranks, other_ranks):
        parts = [whole[rank_slice(batch, rank, number)] for rank in range(number)]
        assert np.array_equal(np.concatenate(parts), whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(deadline=None, max_examples=50)  # slow, as the reference is
@given(layouts(), st.integers(0, 9), st.integers(0, 5))
def test_order_is_that_of_a_slow_reference(layout: Layout, seed: int, epoch: int) -> None:
    assert list(whole_epoch(layout, seed, epoch)) == slow_epoch(layout, seed, epoch)


@settings(deadline=None)
@given(layouts(), st.integers(0, 9))
def test_a_window_says_what_its_samples_need(layout: Layout, seed: int) -> None:
    """Few blocks at a time, each in one window of the epoch; few shards at a time, each in one round."""
    cursor, blocks, rounds = 0, [], {}
    while cursor < layout.num_pairs:
        window = window_at(cursor, layout, seed)
        pairs = batch_order(cursor, window.end - cursor, layout, seed).pairs
        owners = np.searchsorted(layout.starts, pairs, side="right") - 1
        assert np.array_equal(np.unique(owners), window.blocks)
        assert len(window.blocks) <= layout.window_blocks
        assert set(layout.shards[window.blocks]) <= set(window.round_shards)
        assert len(window.round_shards) <= layout.round_shards
        assert window_at(window.end - 1, layout, seed).end == window.end
        assert cursor < window.end <= window.round_end <= layout.num_pairs
        blocks += list(window.blocks)
        rounds[window.round_end] = list(window.round_shards)
        cursor = window.end
    assert sorted(blocks) == list(range(len(layout.shards)))
    assert sorted(itertools.chain(*rounds.values())) == list(range(layout.shards[-1] + 1))


@settings(deadline=None)
@given(sizes, st.integers(1, 20))
def test_blocks_are_runs_of_one_shard(pairs: list[int], block_pairs: int) -> None:
    shards = shards_of(pairs)
    layout = cut_layout(shards, block_pairs=block_pairs)
    lengths = np.diff(layout.starts)
    assert layout.num_pairs == len(shards)
    assert 1 <= lengths.min() <= lengths.max() <= block_pairs
    assert np.array_equal(np.repeat(layout.shards, lengths), shards)
    assert len(lengths) == sum(-(-number // block_pairs) for number in pairs), "no block is cut short for nothing"


@settings(deadline=None)
@given(layouts(), st.integers(0, 2**40), st.integers(0, 99))
def test_order_changes_with_seed_and_epoch(layout: Layout, seed: int, epoch: int) -> None:
    first = whole_epoch(layout, seed, epoch)
    assert np.array_equal(first, whole_epoch(layout, seed, epoch))
    if min(len(layout.shards), layout.window_blocks) > 8:  # enough that the same order by chance is out of question
        assert not np.array_equal(first, whole_epoch(layout, seed, epoch + 1))
        assert not np.array_equal(first, whole_epoch(layout, seed + 1, epoch))


def test_order_is_these_numbers_everywhere() -> None:
    layout = cut_layout(shards_of([7, 5, 9]), block_pairs=2, window_blocks=3, round_shards=2)
    assert list(whole_epoch(layout, 3, 1)) == slow_epoch(layout, 3, 1)
    assert list(whole_epoch(layout, 3, 1)) == [5, 4, 6, 8, 7, 11, 9, 10, 0, 1, 2, 3, 16, 12, 20, 17, 13, 18, 15, 19, 14]


@pytest.mark.parametrize(
    ("window_blocks", "least"),
    [(128, 49), (256, 54.5), (512, 57.5), (1024, 59)],  # the figures that order.py names, less their scatter
)
def test_a_batch_mixes_videos(window_blocks: int, least: float) -> None:
    """Distinct videos in a batch of 64, of 64 shards of 64 videos of 100 pairs, beside a uniform shuffle."""
    videos = np.arange(64 * 64 * 100) // 100
    layout = cut_layout(videos // 64, window_blocks=window_blocks)
    batches = [videos[batch_order(cursor, 64, layout, 0).pairs] for cursor in range(0, 64 * 1600, 64 * 16)]
    distinct = [len(np.unique(batch)) for batch in batches]
    uniform = np.argsort(hashed(ORDER, 1, np.arange(len(videos))))[: 64 * 100].reshape(-1, 64)
    ideal = np.mean([len(np.unique(videos[batch])) for batch in uniform])
    assert 63 < ideal < 64
    assert least < np.mean(distinct) < ideal


def test_small_data_mixes_as_a_uniform_shuffle() -> None:
    """Where all pairs fit into one window there is nothing between."""
    layout = cut_layout(shards_of([800, 600]))
    assert window_at(0, layout, 0).end == layout.num_pairs
    pairs = whole_epoch(layout, 0, 0)
    assert np.array_equal(pairs, np.argsort(hashed(ORDER, 0, 0, 2, np.arange(1400)), kind="stable"))


def slow_epoch(layout: Layout, seed: int, epoch: int) -> list[int]:
    """The order as its description says it, with lists."""

    def draw(kind: int, number: int) -> int:
        return int(hashed(ORDER, seed, epoch, kind, number)[0])

    shards = sorted(range(int(layout.shards[-1]) + 1), key=lambda shard: draw(0, shard))
    order: list[int] = []
    for chosen in even_parts(shards, layout.round_shards):
        blocks = [block for block, shard in enumerate(layout.shards) if shard in chosen]
        blocks.sort(key=lambda block: draw(1, block))
        for window in even_parts(blocks, layout.window_blocks):
            runs = []
            for block in window:
                pairs = list(range(layout.starts[block], layout.starts[block + 1]))
                runs += [pairs[first : first + layout.run_pairs] for first in range(0, len(pairs), layout.run_pairs)]
            order += itertools.chain(*sorted(runs, key=lambda run: draw(2, run[0])))
    return order


def even_parts(items: list[int], most: int) -> list[list[int]]:
    """As few parts as hold at most so many items each; item i of n goes to part i * parts // n."""
    number = -(-len(items) // most)
    parts: list[list[int]] = [[] for _ in range(number)]
    for place, item in enumerate(items):
        parts[place * number // len(items)].append(item)
    return parts
