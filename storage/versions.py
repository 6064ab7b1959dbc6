"""Data set versions: `datasets/<name>/<n>.json`, numbered, immutable, made by conditional create."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter

from storage.root import Root, RootError

SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

FailureClass = Literal["permanent", "transient", "poison"]
Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Failure:
    """An item that ended early, as data.

    `kind`: permanent (gone for good), transient (tried again by the next run) or poison (bytes that no
    tool reads). `reason` is a counted slug, `words` what the tool itself said, whole.
    """

    stage: str
    kind: FailureClass
    reason: str
    words: str
    attempts: int = 1
    time: str = ""


@dataclass(frozen=True)
class SourceEntry:
    """One source: where it is, its download unit, and the video (SHA-256) it gave or the failure."""

    location: str
    key: str
    video: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class VideoEntry:
    """One video: its track unit, what near-duplicates are told by, and its split.

    `signature`: 64-bit perceptual hashes (hex) of sampled frames. `group`: the digest that near-duplicates
    share. Both are empty and the split None until the video is tracked and sharded.
    """

    key: str
    tracks: int = 0
    signature: tuple[str, ...] = ()
    group: str = ""
    split: Split | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class ShardEntry:
    """One shard unit and the track units (keys) that it packs."""

    key: str
    split: Split
    tracks: tuple[str, ...]
    pairs: int


@dataclass(frozen=True)
class Version:
    """The state of a data set: outcomes by source id and video, shards, and the units that reduce over it.

    `units` maps "triplets", "train" and "evaluate/<benchmark>" to keys.
    """

    name: str
    number: int = 0
    sources: Mapping[str, SourceEntry] = field(default_factory=dict)
    videos: Mapping[str, VideoEntry] = field(default_factory=dict)
    shards: tuple[ShardEntry, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    schema: int = SCHEMA


def latest_version(root: Root, name: str) -> Version:
    """The newest version, or number 0 with nothing in it. Raises RootError for a bad name or a newer schema."""
    numbers = _numbers(root, name)
    return _read(root, name, numbers[-1]) if numbers else Version(name)


def update_version(root: Root, name: str, change: Callable[[Version], Version]) -> Version:
    """Apply a change to the newest version and store the result as the next one.

    `change` must be a pure function of the version it is given: a writer that loses the race for a number
    applies it again to the winner's version, so that concurrent runs lose nothing. Returns the standing
    version where the change changes nothing.
    """
    while True:
        current = latest_version(root, name)
        changed = replace(change(current), name=name, number=current.number, created=current.created)
        if changed == current:
            return current
        following = replace(changed, number=current.number + 1, created=datetime.now(UTC).isoformat(timespec="seconds"))
        data = json.dumps(asdict(following), ensure_ascii=False, indent=0).encode()
        if root.create_bytes(version_path(name, following.number), data):
            return following


def dataset_names(root: Root) -> list[str]:
    return [name for name in root.names("datasets") if _NAME.fullmatch(name)]


def version_path(name: str, number: int) -> str:
    if not _NAME.fullmatch(name):
        raise RootError(f"dataset: {name!r} is no data set name; use lower-case letters, digits, '.', '_' and '-'")
    return f"datasets/{name}/{number}.json"


def _numbers(root: Root, name: str) -> list[int]:
    folder = version_path(name, 0).rsplit("/", 1)[0]
    stems = [entry.removesuffix(".json") for entry in root.names(folder) if entry.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def _read(root: Root, name: str, number: int) -> Version:
    path = version_path(name, number)
    data = root.read_bytes(path)
    try:
        schema = int(json.loads(data)["schema"])
        if schema <= SCHEMA:
            return TypeAdapter(Version).validate_json(data)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise RootError(
            f"root: {path} is damaged ({reason}); restore it, or delete it to go on from the version before"
        ) from error
    raise RootError(f"root: {path} has schema {schema}, this Tritrack reads up to {SCHEMA}; update Tritrack")
