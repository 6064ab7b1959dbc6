"""Near-duplicate groups, and the split of videos into train and held-out, both by content."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from storage.versions import Split, VideoEntry
from tasks.shard.config import ShardConfig


def split_videos(
    videos: Mapping[str, VideoEntry], config: ShardConfig, seed: int, wanted: Collection[str] | None = None
) -> dict[str, VideoEntry]:
    """Give each tracked video a group and a split; what is assigned already never moves.

    Near-duplicates share a group, and a group has one split, so that no copy of a held-out video is
    trained on. A group's split is a hash of (seed, group) against `held_out_share`. In small sets new groups
    near the threshold cross over: training needs two groups for its negatives, evaluation one. `wanted`: the
    videos that count for that, where others only lend their groups; default all.
    """
    grouped = _group(videos, config.near_duplicate_bits)
    splits: dict[str, Split] = {}
    for entry in grouped.values():
        if entry.split is not None:
            splits[entry.group] = entry.split
    fresh = sorted({entry.group for entry in grouped.values()} - set(splits), key=lambda group: _uniform(seed, group))
    for group in fresh:
        splits[group] = "held_out" if _uniform(seed, group) < config.held_out_share else "train"
    counted = {entry.group for video, entry in grouped.items() if wanted is None or video in wanted}
    _balance(splits, [group for group in fresh if group in counted], counted, config.held_out_share > 0)
    return {
        video: entry if entry.split else replace(entry, split=splits[entry.group]) for video, entry in grouped.items()
    }


def alike(first: str, second: str, bits: int) -> bool:
    """Whether two signatures (64-bit frame hashes, 16 hex digits each) are of one video.

    True where at least half of the frames of each have a frame in the other that differs in at most `bits`.
    """
    if not first or not second:
        return False
    own, other = _hashes(first), _hashes(second)
    distances = [[(a ^ b).bit_count() for b in other] for a in own]
    rows = sum(min(row) <= bits for row in distances)
    columns = sum(min(column) <= bits for column in zip(*distances, strict=True))
    return 2 * rows >= len(own) and 2 * columns >= len(other)


def _hashes(signature: str) -> list[int]:
    return [int(signature[start : start + 16], 16) for start in range(0, len(signature), 16)]


def _balance(splits: dict[str, Split], fresh: Sequence[str], counted: Collection[str], hold_out: bool) -> None:
    """Move new groups (in order of their hash) until two are trained on and, of three or more, one is held out."""

    if not fresh:
        return

    def count(split: Split) -> int:
        return sum(splits[group] == split for group in counted)

    for group in reversed(fresh):
        if count("train") < 2 and splits[group] == "held_out":
            splits[group] = "train"
    for group in fresh:
        if hold_out and count("held_out") < 1 and count("train") > 2:
            splits[group] = "held_out"


def _group(videos: Mapping[str, VideoEntry], bits: int) -> dict[str, VideoEntry]:
    """Videos in order of digest; a new one joins the first group that holds a near-duplicate, or founds its own."""
    placed = {video: entry for video, entry in videos.items() if entry.group}
    fresh = sorted(set(videos) - set(placed))
    if not fresh:
        return placed
    known = _KnownHashes(videos.values())
    for video, entry in placed.items():
        known.add(video, entry.signature)
    for video in fresh:
        entry = videos[video]
        near = sorted(known.owners_near(entry.signature, bits))
        twins = (placed[other].group for other in near if alike(entry.signature, placed[other].signature, bits))
        placed[video] = replace(entry, group=next(twins, video))
        known.add(video, entry.signature)
    return placed


class _KnownHashes:
    """The frame hashes of many videos in one array: a new video is held against a hundred thousand in 20 ms."""

    def __init__(self, entries: Collection[VideoEntry]) -> None:
        import numpy as np  # here: a plan without new videos needs none

        self._numpy = np
        self._hashes = np.zeros(sum(len(entry.signature) // 16 for entry in entries), np.uint64)
        self._owners: list[str] = []  # one a hash

    def add(self, video: str, signature: str) -> None:
        own, start = _hashes(signature), len(self._owners)
        self._hashes[start : start + len(own)] = self._numpy.array(own, self._numpy.uint64)
        self._owners += [video] * len(own)

    def owners_near(self, signature: str, bits: int) -> set[str]:
        """Videos with a frame that differs in at most `bits` from one of the signature's."""
        known = self._hashes[: len(self._owners)]
        near = self._numpy.zeros(len(known), bool)
        for value in _hashes(signature):
            near |= self._numpy.bitwise_count(known ^ self._numpy.uint64(value)) <= bits
        return {self._owners[place] for place in self._numpy.flatnonzero(near)}


def _uniform(seed: int, group: str) -> float:
    """A number in [0, 1) that only the seed and the group's content decide."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
