"""Which small shards become one: the tiers of a log-structured merge tree, by size. It touches no file."""

from __future__ import annotations

from collections.abc import Iterable

from storage.versions import ShardEntry

_FAN_IN = 8
"""Shards of a class that make one of the next. A byte is written again once a class, log8(64 MB / 1 MB) = 2 times
for nights of 1 MB, and of each class at most 7 are left. With 4 it is 3 times and 3 are left, with 16 it is 1.5 and
15."""


def small_shards(shards: Iterable[ShardEntry], target_bytes: int) -> list[tuple[ShardEntry, ...]]:
    """Groups of shards of one split, each of which becomes one shard; the others stay. A pure function.

    Classes of size are eight times apart, from half of `target_bytes` down; larger shards are in none. Eight shards of
    a class come together, or fewer once they hold `target_bytes`; where what they make completes eight of the next
    class, all become one at once. So no result has more than 1.5 times `target_bytes`, and what is left over of all
    classes is a few dozen shards. Those whose size is not known stay as they are.
    """
    classes: dict[int, list[tuple[ShardEntry, ...]]] = {}
    for shard in sorted(shards, key=lambda shard: (shard.size, shard.key)):
        if shard.size and (level := _level(shard.size, target_bytes)):
            classes.setdefault(level, []).append((shard,))
    grouped: list[tuple[ShardEntry, ...]] = []
    for level in range(max(classes, default=0), 0, -1):
        waiting: list[tuple[ShardEntry, ...]] = []
        for group in classes.get(level, ()):
            waiting.append(group)
            total = sum(map(_size, waiting))
            if len(waiting) == _FAN_IN or (len(waiting) > 1 and total >= target_bytes):
                merged = tuple(shard for group in waiting for shard in group)
                above = min(_level(total, target_bytes), level - 1)
                classes.setdefault(above, []).append(merged)
                waiting = []
        grouped += (group for group in waiting if len(group) > 1)
    return grouped + classes.get(0, [])


def _level(size: int, target_bytes: int) -> int:
    """The class of a size: 0 from half of the target on, one more each time it is eight times smaller."""
    limit, level = target_bytes // 2, 0
    while size < limit:
        limit //= _FAN_IN
        level += 1
    return level


def _size(group: tuple[ShardEntry, ...]) -> int:
    return sum(shard.size for shard in group)
