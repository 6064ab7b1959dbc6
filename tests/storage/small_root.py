"""A small data set committed by hand: three sources, three videos, their tracks, two shards, a training, a score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from storage.findings import Report
from storage.keys import JSON, KeyDocument, Recipe
from storage.manifests import Manifest, StoredFile, accept, commit, video_path
from storage.metadata import metadata_row
from storage.root import Root
from storage.versions import (
    ShardEntry,
    SourceEntry,
    UnitEntry,
    Version,
    VideoEntry,
    update_version,
)

DATASET = "clips"
VIDEOS = {name: (f"video {name} " * 40).encode() for name in "abc"}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in VIDEOS.items()}


@dataclass(frozen=True)
class SmallRoot:
    """The manifests of what was committed, by name: "download a", "track a", "shard train", "triplets", "train"..."""

    root: Root
    units: Mapping[str, Manifest]

    def path(self, unit: str) -> str:
        """The one file of a unit, or its first."""
        return next(iter(self.units[unit].files.values())).path

    def key(self, unit: str) -> str:
        return self.units[unit].key


def document(stage: str, code: str = "1", **inputs: JSON) -> KeyDocument:
    return KeyDocument(Recipe(stage, 1, code={"module": code}), inputs)


def commit_video(root: Root, name: str, content: bytes) -> Manifest:
    """A video by content, and the download unit that names it."""
    sha256 = hashlib.sha256(content).hexdigest()
    stored = StoredFile(video_path(sha256), len(content), sha256)
    root.write_bytes(stored.path, content)
    facts: Mapping[str, JSON] = {"video": sha256, "title": f"clip {name}", "fetched": "2026-01-01T00:00:00+00:00"}
    counts = {"bytes": stored.size}
    return commit(root, document("download", source=name), {"video.bin": stored}, counts=counts, facts=facts)


def build(root: Root) -> SmallRoot:
    """Commit everything and record it in three versions, as the stages would."""
    units: dict[str, Manifest] = {}
    for name, content in VIDEOS.items():
        units[f"download {name}"] = commit_video(root, name, content)
        tracks = f"tracks of {name} ".encode() * 20
        units[f"track {name}"] = commit(root, document("track", video=DIGESTS[name]), {"tracks.parquet": tracks})
    packed = {"train": ("a", "b"), "held_out": ("c",)}
    for split, names in packed.items():
        keys = [units[f"track {name}"].key for name in names]
        files = {"pairs.tar": f"pairs {split} ".encode() * 50, "index.parquet": f"index {split}".encode()}
        units[f"shard {split}"] = commit(root, document("shard", tracks=keys, split=split), files)
    shards = [units[f"shard {split}"].key for split in packed]
    triplets = units["triplets"] = commit(
        root, document("shard", shards=shards), {"triplets.parquet": b"triplets " * 9}
    )
    train = units["train"] = commit(
        root, document("train", triplets=triplets.key), {"weights.safetensors": b"w" * 300, "network.json": b"{}"}
    )
    scores = units["scores"] = commit(root, document("evaluate", train=train.key), {"scores.parquet": b"scores " * 9})

    def downloaded(version: Version) -> Version:
        sources = {n: SourceEntry(f"http://{n}", units[f"download {n}"].key, video=DIGESTS[n]) for n in VIDEOS}
        rows = {n: row_of(units[f"download {n}"]) for n in VIDEOS}
        return replace(version, sources=sources, fetched=rows)

    def tracked(version: Version) -> Version:
        groups = {"a": "train", "b": "train", "c": "held_out"}
        videos = {
            DIGESTS[name]: VideoEntry(units[f"track {name}"].key, "", 2, group=name, split=split)  # type: ignore[arg-type]
            for name, split in groups.items()
        }
        return replace(version, videos=videos)

    def trained(version: Version) -> Version:
        entries = tuple(
            ShardEntry(units[f"shard {s}"].key, s, tuple(units[f"track {n}"].key for n in names), 2)  # type: ignore[arg-type]
            for s, names in packed.items()
        )
        reduced = {"triplets": triplets, "train": train, "evaluate/retrieval": scores}
        return replace(version, shards=entries, units={name: UnitEntry(one.key) for name, one in reduced.items()})

    for change in (downloaded, tracked, trained):
        update_version(root, DATASET, change)
    return SmallRoot(root, units)


def row_of(manifest: Manifest) -> Mapping[str, JSON]:
    """The metadata of what a download unit fetched."""
    size, when = manifest.counts["bytes"], str(manifest.facts["fetched"])
    return metadata_row(manifest.facts, num_bytes=size, fetch_seconds=manifest.seconds, fetched=when)


def flip(root: Root, path: str) -> None:
    data = bytearray(root.read_bytes(path))
    data[len(data) // 2] ^= 1
    root.write_bytes(path, bytes(data))


def truncate(root: Root, path: str) -> None:
    root.write_bytes(path, root.read_bytes(path)[:-1])


def grow(root: Root, path: str) -> None:
    root.write_bytes(path, root.read_bytes(path) + b"!")


def delete(root: Root, path: str) -> None:
    root.remove(path)


DAMAGES: Mapping[str, Callable[[Root, str], None]] = {
    "flipped": flip,
    "truncated": truncate,
    "grown": grow,
    "missing": delete,
}


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in report.findings}


def name_of(small: SmallRoot, name: str) -> tuple[tuple[str, str]]:
    manifest = small.units[name]
    return ((manifest.stage, manifest.key),)


def accept_again(small: SmallRoot, unit: str) -> Manifest:
    """Another key that the unit's output was accepted for, named by the newest version."""
    standing = small.units[unit]
    alias = accept(small.root, document(standing.stage, code="2", video=DIGESTS["a"]), standing, ["code: module"])

    def change(version: Version) -> Version:
        entry = replace(version.videos[DIGESTS["a"]], accepted=alias.key)
        return replace(version, videos={**version.videos, DIGESTS["a"]: entry})

    update_version(small.root, DATASET, change)
    return alias


def with_dropped(version: Version, dropped: bool) -> Version:
    return replace(version, videos={name: replace(one, dropped=dropped) for name, one in version.videos.items()})


def drop_videos(root: Root) -> None:
    update_version(root, DATASET, lambda version: with_dropped(version, dropped=True))
    root.remove_many(video_path(digest) for digest in DIGESTS.values())
