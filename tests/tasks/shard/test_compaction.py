"""Which small shards become one: bounds that hold for any sizes, and night after night."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.versions import ShardEntry
from tasks.shard.compaction import small_shards

TARGET = 128 << 20
sizes = st.lists(st.integers(0, 200_000_000) | st.integers(0, 300_000), max_size=60)


def _shards(sizes: list[int]) -> list[ShardEntry]:
    return [ShardEntry(f"k{number:03}", "train", (f"t{number}",), 1, size=size) for number, size in enumerate(sizes)]


def _merge(shards: list[ShardEntry], name: str, target: int = TARGET) -> list[ShardEntry]:
    for number, group in enumerate(small_shards(shards, target)):
        tracks = tuple(track for shard in group for track in shard.tracks)
        size = sum(shard.size for shard in group)
        shards = [shard for shard in shards if shard not in group]
        shards.append(ShardEntry(f"{name}-{number}", "train", tracks, len(tracks), size=size))
    return shards


@settings(deadline=None)
@given(sizes)
def test_what_is_merged_is_small_and_known_and_merged_once(sizes: list[int]) -> None:
    shards = _shards(sizes)
    groups = small_shards(shards, TARGET)
    merged = [shard for group in groups for shard in group]
    assert len(merged) == len(set(merged))
    assert all(0 < shard.size < TARGET // 2 for shard in merged)
    for group in groups:
        assert len(group) > 1
        assert sum(shard.size for shard in group) < 1.5 * TARGET


@settings(deadline=None)
@given(sizes)
def test_after_a_merge_nothing_is_to_be_merged(sizes: list[int]) -> None:
    shards = _merge(_shards(sizes), "m")
    assert small_shards(shards, TARGET) == []
    assert sorted(track for shard in shards for track in shard.tracks) == sorted(f"t{n}" for n in range(len(sizes)))
    left = Counter(shard.size.bit_length() for shard in shards if 0 < shard.size < TARGET // 2)
    assert all(number <= 14 for number in left.values()), "seven of a class, and an octave has two at most"


@given(sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_shards_says_nothing(sizes: list[int], chance: object) -> None:
    shards = _shards(sizes)
    mixed = list(shards)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert small_shards(mixed, TARGET) == small_shards(shards, TARGET)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(50_000, 5_000_000), min_size=1, max_size=400))
def test_night_after_night_a_byte_is_written_again_once_a_class(nights: list[int]) -> None:
    shards: list[ShardEntry] = []
    times: Counter[str] = Counter()
    for number, size in enumerate(nights):
        before = {shard.key for shard in shards}
        shards = _merge(shards, f"m{number}")
        times.update(track for shard in shards if shard.key not in before for track in shard.tracks)
        shards.append(ShardEntry(f"n{number}", "train", (f"t{number}",), 1, size=size))
    assert max(times.values(), default=0) <= 4, "64 MB / 50 kB is 8 ** 3.4"
    assert sum(0 < shard.size < TARGET // 2 for shard in shards) <= 4 * 7 + 1


def test_no_target_and_no_size_merge_nothing() -> None:
    shards = _shards([1000] * 30)
    assert small_shards(shards, 0) == []
    assert small_shards([replace(shard, size=0) for shard in shards], TARGET) == []
    assert [len(group) for group in small_shards(shards, TARGET)] == [8, 8, 8], "six are too few"


def test_what_completes_a_class_is_merged_at_once() -> None:
    """Seven shards of eight nights and eight nights: one shard of 64, and no byte is written twice."""
    night = 1_100_000
    (group,) = small_shards(_shards([8 * night] * 7 + [night] * 8), TARGET)
    assert len(group) == 15


def test_what_reaches_the_target_waits_for_no_eighth() -> None:
    (group,) = small_shards(_shards([60_000_000] * 3), TARGET)
    assert len(group) == 3
    assert small_shards(_shards([60_000_000] * 2), TARGET) == []
