"""Purge: take a video out of everything that was made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from storage.contents import examine_file, read_stage
from storage.history import UnitName, read_history
from storage.keys import JSON
from storage.layout import purged_path
from storage.leases import live_leases
from storage.ledger import forget_video
from storage.manifests import Manifest, manifest_path, read_manifest, video_path
from storage.protection import collecting
from storage.root import Root, RootError
from storage.versions import Failure, Version, dataset_names, keys_of, latest_version, unit_stage, update_version

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Purge:
    """What a purge did: data sets with the number of their new version, units and files removed, and bytes freed.

    `trained`: training runs (keys) that saw the video, or began at a network that did; their checkpoints are left, and
    are the user's to judge.
    """

    video: str
    datasets: Mapping[str, int]
    units: int
    files: int
    freed_bytes: int
    trained: tuple[str, ...]


def find_video(root: Root, text: str, source: str = "") -> str:
    """The video (SHA-256) that a user names: by the first digits of its digest (8 at least), or by the id of a source.

    Raises RootError where the newest versions hold none, or several.
    """
    found: set[str] = set()
    for name in dataset_names(root):
        version = latest_version(root, name)
        if _DIGEST.fullmatch(text):
            found.update(video for video in version.videos if video.startswith(text))
            found.update(one.video for one in version.sources.values() if one.video and one.video.startswith(text))
        if source in version.sources and (video := version.sources[source].video):
            found.add(video)
    if not found and re.fullmatch(r"[0-9a-f]{64}", text) and root.exists(purged_path(text)):
        return text  # a purge that was interrupted
    if not found:
        raise RootError(f"purge: {text!r} names no video of a newest version; give its SHA-256 (8 digits), URL or path")
    if len(found) > 1:
        raise RootError(f"purge: {text!r} names {len(found)} videos; give more digits of the SHA-256")
    return found.pop()


def purge(root: Root, video: str) -> Purge:
    """Remove a video (SHA-256): its bytes, its download and track units, and what reduces over it.

    First comes a record that it was purged and what goes with it, so that no source brings it back; then a new
    version of every data set that holds it, without it, its metadata and what was made from it; then its names leave
    the ledger; then the files go, manifests first. An interrupted purge is finished by the next one. A purge is for
    good. Raises RootError while a run is live, or where a version cannot be read, and changes nothing then.
    """
    with collecting(root, "purge"):  # a run that begins from now on waits for the end
        if runs := live_leases(root, "run"):
            raise RootError(f"purge: a run is live ({runs[0].holder}); wait until it ends, or end it")
        history = read_history(root)
        if gaps := history.gaps:
            raise RootError(f"purge: {gaps[0].path} cannot be read, so not all can be found; run fsck first")
        for path in history.current_metadata:
            if examine_file(root, history.metadata[path], quick=False):
                raise RootError(f"purge: {path} cannot be read, and may name the video; run fsck --repair first")
        return _purge(root, video)


def _purge(root: Root, video: str) -> Purge:
    doomed = _recorded(root, video) | _made_from(root, video)
    units = {unit for unit in doomed if unit[0] != "train"}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"schema": 1, "video": video, "time": now, "units": sorted(doomed)}
    root.write_bytes(purged_path(video), json.dumps(record, indent=1).encode())
    datasets = {}
    for name in dataset_names(root):
        before = latest_version(root, name)
        after = update_version(root, name, lambda version: _without(version, video, units, now), f"purge {video[:16]}")
        if after.number != before.number:
            datasets[name] = after.number
    forget_video(root, video, _locations(root, units), units)
    files, freed = _remove(root, video, units)
    trained = tuple(sorted(key for stage, key in doomed if stage == "train"))
    return Purge(video, datasets, len(units), files, freed, trained)


def _locations(root: Root, units: set[UnitName]) -> set[str]:
    """Where the download units say that they fetched from."""
    manifests = (read_manifest(root, stage, key) for stage, key in units if stage == "download")
    return {str(_inputs(one)["location"]) for one in manifests if one and "location" in _inputs(one)}


def _recorded(root: Root, video: str) -> set[UnitName]:
    """What an interrupted purge of the video had found: it may have removed the manifests that tell it."""
    try:
        units = json.loads(root.read_bytes(purged_path(video)))["units"]
    except FileNotFoundError:
        return set()
    except (ValueError, KeyError, TypeError) as error:
        raise RootError(f"root: {purged_path(video)} is damaged; delete it and purge again") from error
    return {(str(stage), str(key)) for stage, key in units}


def _made_from(root: Root, video: str) -> set[UnitName]:
    """Every unit that the root holds of a video, and all that reduces over it, whether a version names it or not.

    Found by the inputs in all manifests: a purge must not depend on what some version remembers.
    """
    found: set[UnitName] = set()
    for manifest in _manifests(root, "download"):
        if any(file.path == video_path(video) for file in manifest.files.values()):
            found.add(("download", manifest.key))
    tracks = {manifest.key for manifest in _manifests(root, "track") if _inputs(manifest).get("video") == video}
    packed = list(_manifests(root, "shard"))
    shards = {one.key for one in packed if not tracks.isdisjoint(_strings(_inputs(one).get("tracks")))}
    indexes = {one.key for one in packed if not shards.isdisjoint(_strings(_inputs(one).get("shards")))}
    saw = _trained_on(list(_manifests(root, "train")), indexes)
    scores = {
        one.key
        for one in _manifests(root, "evaluate")
        if _inputs(one).get("triplets") in indexes or _inputs(one).get("train") in saw
    }
    scores = _made_of(list(_manifests(root, "evaluate")), scores)
    named = {"track": tracks, "shard": shards | indexes, "train": saw, "evaluate": scores}
    return found | {(stage, key) for stage, keys in named.items() for key in keys}


def _trained_on(units: Sequence[Manifest], indexes: set[str]) -> set[str]:
    """Training units that saw one of the triplet indexes, or began at a network that did."""
    saw = {unit.key for unit in units if _inputs(unit).get("triplets") in indexes}
    while more := {unit.key for unit in units if not saw.isdisjoint(_beginnings(unit))} - saw:
        saw |= more
    return saw


def _made_of(units: Sequence[Manifest], scores: set[str]) -> set[str]:
    """Some scores, and what was made of them: ensembles and comparisons name them somewhere in their inputs."""
    found = set(scores)
    while more := {unit.key for unit in units if not found.isdisjoint(_texts(_inputs(unit)))} - found:
        found |= more
    return found


def _texts(value: object) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _beginnings(unit: Manifest) -> set[JSON]:
    parameters = unit.recipe.parameters
    return {parameters.get("init_from"), parameters.get("continue_from")}


def _manifests(root: Root, stage: str) -> Iterable[Manifest]:
    return read_stage(root, stage).manifests.values()


def _inputs(manifest: Manifest) -> Mapping[str, object]:
    inputs = manifest.document.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _without(version: Version, video: str, units: set[UnitName], now: str) -> Version:
    """The version without a video. Its sources stay, as failed for good."""
    track = version.videos.get(video)
    gone = set(keys_of(track)) if track else set()
    failure = Failure("download", "permanent", "purged", f"the video was purged on {now}", time=now)
    return replace(
        version,
        sources={
            source: replace(entry, video=None, failure=failure) if entry.video == video else entry
            for source, entry in version.sources.items()
        },
        videos={name: entry for name, entry in version.videos.items() if name != video},
        shards=tuple(shard for shard in version.shards if gone.isdisjoint(shard.tracks)),
        units={name: unit for name, unit in version.units.items() if (unit_stage(name), unit.key) not in units},
    )


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
