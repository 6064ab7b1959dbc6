"""Near-duplicate groups, and the split of videos into train and held-out, both by content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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

    A new video with near-duplicates in both splits (a whole whose parts came earlier) fits neither: it is alone in
    its group, and has no split.
    """
    grouped, torn = _group(videos, config.near_duplicate_bits)
    splits: dict[str, Split] = {}
    for entry in grouped.values():
        if entry.split is not None:
            splits[entry.group] = entry.split
    groups = {entry.group for entry in grouped.values()} - torn
    fresh = sorted(groups - set(splits), key=lambda group: _uniform(seed, group))
    for group in fresh:
        splits[group] = "held_out" if _uniform(seed, group) < config.held_out_share else "train"
    counted = {entry.group for video, entry in grouped.items() if wanted is None or video in wanted} - torn
    _balance(splits, [group for group in fresh if group in counted], counted, config.held_out_share > 0)
    return {
        video: entry if entry.split or video in torn else replace(entry, split=splits[entry.group])
        for video, entry in grouped.items()
    }


def leave_out(videos: Mapping[str, VideoEntry], config: ShardConfig, packed: Collection[str]) -> dict[str, str]:
    """Videos with tracks that no shard holds, and why.

    `in_both_splits`: near-duplicates of theirs are trained on and others held out. `near_duplicate`: where
    `near_duplicates` is "once", all but one video of a group. The one is, of those whose track unit is in `packed`
    (what the standing shards hold) where there are such, the one that founded the group, else the one with the most
    tracks. So a copy that comes later, or returns, never takes another's place, and no shard is packed again for it.
    """
    reasons = {
        video: "in_both_splits" for video, entry in videos.items() if entry.tracks and entry.group and not entry.split
    }
    groups: dict[str, list[str]] = {}
    for video, entry in videos.items():
        if entry.tracks and entry.split and config.near_duplicates == "once":
            groups.setdefault(entry.group, []).append(video)
    for group, members in groups.items():
        if len(members) > 1:
            kept = min(
                members,
                key=lambda video: (videos[video].key not in packed, video != group, -videos[video].tracks, video),
            )
            reasons |= {video: "near_duplicate" for video in members if video != kept}
    return reasons


def _balance(splits: dict[str, Split], fresh: Sequence[str], counted: Collection[str], hold_out: bool) -> None:
    """Move new groups (in order of their hash) until two are trained on and, of three or more, one is held out."""
    if not fresh:
        return
    counts = Counter(splits[group] for group in counted)

    def move(group: str, to: Split) -> None:
        counts[splits[group]] -= 1
        counts[to] += 1
        splits[group] = to

    for group in reversed(fresh):
        if counts["train"] < 2 and splits[group] == "held_out":
            move(group, "train")
    for group in fresh:
        if hold_out and counts["held_out"] < 1 and counts["train"] > 2:
            move(group, "held_out")


def _group(videos: Mapping[str, VideoEntry], bits: int) -> tuple[dict[str, VideoEntry], set[str]]:
    """Every video with its group, and those that fit neither split.

    New videos that are near-duplicates of each other, directly or by way of others, join the group that one of them
    has a near-duplicate in (the first by name). Where there is none they found one; its name is the digest of the
    one with the most tracks, most often the whole among its parts.
    """
    fresh = sorted(video for video, entry in videos.items() if not entry.group)
    torn = {video for video, entry in videos.items() if entry.group and not entry.split}
    if not fresh:
        return dict(videos), torn
    standing = [video for video, entry in videos.items() if entry.group and entry.split]
    grouped = {video: entry for video, entry in videos.items() if entry.group}
    for members, found in _clusters(videos, standing, fresh, bits):
        groups = sorted({videos[video].group for video in found})
        if len({videos[video].split for video in found}) > 1:
            torn |= members
            grouped |= {video: replace(videos[video], group=video) for video in members}
        else:
            name = groups[0] if groups else min(members, key=lambda video: (-videos[video].tracks, video))
            grouped |= {video: replace(videos[video], group=name) for video in members}
    return grouped, torn


def _clusters(
    videos: Mapping[str, VideoEntry], standing: Sequence[str], fresh: Sequence[str], bits: int
) -> Iterable[tuple[set[str], set[str]]]:
    """New videos that near-duplicates link, and the standing near-duplicates of them."""
    from tasks.shard.duplicates import near_duplicates  # here: a plan without new videos needs no NumPy

    names = [*standing, *fresh]
    members: dict[str, set[str]] = {video: {video} for video in fresh}
    found: dict[str, set[str]] = {video: set() for video in fresh}
    for first, second in near_duplicates([videos[video].signature for video in names], len(standing), bits):
        one, other = names[first], names[second]
        if first < len(standing):
            found[other].add(one)
        elif members[one] is not members[other]:
            small, large = sorted((members[one], members[other]), key=len)
            large |= small
            members |= dict.fromkeys(small, large)
    for linked in {id(linked): linked for linked in members.values()}.values():
        yield linked, set().union(*(found[member] for member in linked))


def _uniform(seed: int, group: str) -> float:
    """A number in [0, 1) that only the seed and the group's content decide."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
