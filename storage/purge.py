"""Purge: take a video out of everything that was made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from storage.history import UnitName, read_history
from storage.layout import purged_path
from storage.leases import live_leases
from storage.manifests import manifest_path, read_manifest, video_path
from storage.protection import collecting
from storage.root import Root, RootError
from storage.versions import Failure, SourceEntry, Version, dataset_names, latest_version, update_version

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Purge:
    """What a purge did: data sets with the number of their new version, units and files removed, and bytes freed.

    `trained`: training runs (keys) that saw the video; their checkpoints are left, and are the user's to judge.
    """

    video: str
    datasets: Mapping[str, int]
    units: int
    files: int
    freed_bytes: int
    trained: tuple[str, ...]


def find_video(root: Root, text: str) -> str:
    """The video (SHA-256) that a user names: by the first digits of its digest (8 at least), its URL or its path.

    Raises RootError where the newest versions hold none, or several.
    """
    found: set[str] = set()
    for name in dataset_names(root):
        version = latest_version(root, name)
        if _DIGEST.fullmatch(text):
            found.update(video for video in version.videos if video.startswith(text))
            found.update(one.video for one in version.sources.values() if one.video and one.video.startswith(text))
        found.update(one.video for one in version.sources.values() if one.video and one.location == text)
    if not found and re.fullmatch(r"[0-9a-f]{64}", text) and root.exists(purged_path(text)):
        return text  # a purge that was interrupted
    if len(found) != 1:
        what = "no video" if not found else f"{len(found)} videos"
        raise RootError(f"purge: {text!r} names {what}; give more digits of its SHA-256, its URL or its path")
    return found.pop()


def purge(root: Root, video: str) -> Purge:
    """Remove a video (SHA-256): its bytes, its download and track units, and what reduces over it.

    First comes a record that it was purged, so that no source brings it back; then a new version of every data set
    that holds it, without it and without the shards, triplet index and scores made from it; then the files go,
    manifests first. An interrupted purge is finished by the next one. Raises RootError while a run is live.
    """
    if runs := live_leases(root, "run"):
        raise RootError(f"purge: a run is live ({runs[0].holder}); wait until it ends, or end it")
    with collecting(root, "purge"):  # a run that begins now waits
        return _purge(root, video)


def _purge(root: Root, video: str) -> Purge:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    root.create_bytes(purged_path(video), json.dumps({"schema": 1, "video": video, "time": now}).encode())
    history = read_history(root)
    if gaps := history.gaps:
        raise RootError(f"purge: {gaps[0].path} cannot be read, so not all can be found; run fsck first")
    units, trained = _made_from(root, history.purged)
    datasets = {}
    for name in dataset_names(root):
        before = latest_version(root, name)
        after = update_version(root, name, lambda version: _without(version, video, units, now), f"purge {video[:16]}")
        if after.number != before.number:
            datasets[name] = after.number
    files, freed = _remove(root, video, units)
    return Purge(video, datasets, len(units), files, freed, tuple(sorted(trained)))


def _made_from(root: Root, candidates: Iterable[UnitName]) -> tuple[set[UnitName], set[str]]:
    """Of units that versions name beside a purged video: those that were made from it, and training runs (keys)."""
    certain = {(stage, key) for stage, key in candidates if stage in ("download", "track")}
    shards = {key for stage, key in candidates if stage == "shard"}
    inputs = {unit: _inputs(root, *unit) for unit in candidates if unit not in certain}
    indexes = {
        key
        for key in shards
        if "shards" in inputs["shard", key] and not shards.isdisjoint(_strings(inputs["shard", key]["shards"]))
    }
    packed = {key for key in shards if "shards" not in inputs["shard", key]}
    saw = {key for (stage, key), given in inputs.items() if stage == "train" and given.get("triplets") in indexes}
    scores = {
        key
        for (stage, key), given in inputs.items()
        if stage == "evaluate" and (given.get("triplets") in indexes or "benchmarks" in given)
    }
    certain |= {("shard", key) for key in indexes | packed} | {("evaluate", key) for key in scores}
    return certain, saw


def _inputs(root: Root, stage: str, key: str) -> Mapping[str, object]:
    manifest = read_manifest(root, stage, key)
    inputs = manifest.document.get("inputs") if manifest else None
    return inputs if isinstance(inputs, Mapping) else {}


def _without(version: Version, video: str, units: set[UnitName], now: str) -> Version:
    """The version without a video. Its sources stay, as failed for good."""
    track = version.videos.get(video)
    gone = {track.key, track.accepted} - {""} if track else set()
    failure = Failure("download", "permanent", "purged", f"the video was purged on {now}", time=now)
    return replace(
        version,
        sources={
            source: _purged(entry, failure) if entry.video == video else entry
            for source, entry in version.sources.items()
        },
        videos={name: entry for name, entry in version.videos.items() if name != video},
        shards=tuple(shard for shard in version.shards if gone.isdisjoint(shard.tracks)),
        units={
            name: unit
            for name, unit in version.units.items()
            if name == "train" or not any(unit.key == key for _, key in units)
        },
    )


def _purged(entry: SourceEntry, failure: Failure) -> SourceEntry:
    return replace(entry, video=None, failure=failure)


def _remove(root: Root, video: str, units: set[UnitName]) -> tuple[int, int]:
    """Delete manifests, then all that lies in their folders, then the video; returns files and bytes."""
    assert all(stage and key for stage, key in units), "without a key a unit's folder would be the whole stage"
    root.remove_many([manifest_path(stage, key) for stage, key in sorted(units)])
    found = [entry for stage, key in sorted(units) for entry in root.walk(f"{stage}/{key}")]
    paths = [entry.path for entry in found]
    sizes = [entry.size for entry in found]
    if root.exists(video_path(video)):
        sizes.append(root.size(video_path(video)))
        paths.append(video_path(video))
    root.remove_many(paths)
    return len(paths) + len(units), sum(sizes)


def _strings(value: object) -> Iterator[str]:
    return map(str, value) if isinstance(value, list | tuple) else iter(())
