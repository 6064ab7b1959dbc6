"""Data set versions: numbered and immutable, each a small JSON head that names its tables.

`datasets/<name>/<n>.json` holds counts, recipes and the units that reduce over the data set; its sources, videos and
shards lie in Parquet tables under their own digest, which versions share where nothing changed. So a version of a
hundred thousand sources is read in a handful of requests. A fourth table, of what the videos are, is read by those
who ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from storage.keys import JSON
from storage.manifests import StoredFile
from storage.root import Root, RootError, StoreUnavailable
from storage.sealing import read_schema, seal, unseal

SCHEMA = 3
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

FailureClass = Literal["permanent", "transient", "poison"]
Split = Literal["train", "held_out"]
TableName = Literal["sources", "videos", "shards", "metadata"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that ended early, as data.

    `kind`: permanent (gone for good), transient (tried again by the next run) or poison (bytes that no
    tool reads). `reason` is a counted slug, `words` what the tool itself said, whole. `settings`: the fields of the
    configuration that the verdict rests on and their values, a JSON object, or empty.
    """

    stage: str
    kind: FailureClass
    reason: str
    words: str
    attempts: int = 1
    time: str = ""
    settings: str = ""


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One source: where it is, its download unit, the video (SHA-256) it gave, and why the last try gave none.

    A failure keeps the video that an earlier try gave. `recipe`: digest of the recipe behind `key`; an empty `key`
    is to be made again. `origins`: the lists, folders or URLs that name it. `removed`: when the last of them stopped
    to (ISO 8601), a tombstone; empty while it is wanted. `size`: bytes of the video. `given`: what its list says of it
    beside its location, a JSON object, or empty. `listing`: when it was last expanded (ISO 8601), where the source is
    a list itself, such as a playlist. One without video, failure and listing is known and not tried yet.
    """

    location: str
    key: str
    recipe: str = ""
    video: str | None = None
    failure: Failure | None = None
    origins: tuple[str, ...] = ()
    removed: str = ""
    size: int = 0
    given: str = ""
    listing: str = ""


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video: its track unit, what near-duplicates are told by, and its split.

    `signature`: 64-bit perceptual hashes of the frames that stand out, longest first, 16 hex digits each. `group`: the
    digest that near-duplicates share. Both are empty and the split None until the video is tracked and sharded; a
    group without a split has near-duplicates in both, and is packed nowhere.
    `accepted`: another key that the unit was accepted for. `dropped`: its bytes were dropped once it was tracked.
    """

    key: str
    recipe: str = ""
    tracks: int = 0
    signature: str = ""
    group: str = ""
    split: Split | None = None
    failure: Failure | None = None
    accepted: str = ""
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard unit and the track units (keys) that it packs.

    `size`: bytes of its tar file; 0 in what was recorded before sizes were.
    """

    key: str
    split: Split
    tracks: tuple[str, ...]
    pairs: int
    recipe: str = ""
    accepted: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class UnitEntry:
    """A unit that reduces over the data set, and another key that it was accepted for."""

    key: str
    accepted: str = ""


@dataclass(frozen=True)
class Version:
    """The state of a data set: outcomes by source id and video, shards, and the units that reduce over it.

    `units` maps "triplets", "train", "audit", "evaluate/<benchmark>" and "proposals/<part>" to their units; `recipes`
    the digests that entries name to recipes as JSON. `tables` says where its tables lie. `fetched`: rows of the
    metadata table by source id, as `storage.metadata.metadata_row` makes them, that a change adds or puts in the place
    of others; empty in a version that was read.
    """

    name: str
    number: int = 0
    sources: Mapping[str, SourceEntry] = field(default_factory=dict)
    videos: Mapping[str, VideoEntry] = field(default_factory=dict)
    shards: tuple[ShardEntry, ...] = ()
    units: Mapping[str, UnitEntry] = field(default_factory=dict)
    recipes: Mapping[str, JSON] = field(default_factory=dict)
    created: str = ""
    tables: Mapping[TableName, StoredFile] = field(default_factory=dict, compare=False, repr=False)
    fetched: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Head:
    """The small part of a version. `counts`: those of `counts_of`."""

    name: str
    number: int
    created: str
    note: str
    counts: Mapping[str, int]
    units: Mapping[str, UnitEntry]
    recipes: Mapping[str, JSON]
    tables: Mapping[TableName, StoredFile]
    schema: int = SCHEMA


def latest_version(root: Root, name: str) -> Version:
    """The newest version, or number 0 with nothing in it. Raises RootError for a bad name or a newer schema."""
    return _newest(root, name, None)


def update_version(
    root: Root, name: str, change: Callable[[Version], Version], note: str = "", known: Version | None = None
) -> Version:
    """Apply a change to the newest version and store the result as the next one; `note` says what made it.

    `change` must be a pure function of the version it is given: a writer that loses the race for a number
    applies it again to the winner's version, so that concurrent runs lose nothing. Returns the standing
    version where the change changes nothing, the rows that it fetched included. `known`: the version that the caller
    holds, which is neither read again nor held twice while it is the newest.
    """
    from storage.metadata_table import write_metadata
    from storage.version_tables import write_tables

    while True:
        current = _newest(root, name, known)
        changed = replace(change(current), name=name, number=current.number, created=current.created)
        changed = replace(changed, recipes=_used_recipes(changed))
        metadata = write_metadata(root, current, changed)
        if changed == current and metadata == current.tables.get("metadata"):
            return current
        tables = write_tables(root, current, changed)
        following = replace(
            changed,
            number=current.number + 1,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tables={**tables, "metadata": metadata} if metadata else tables,
            fetched={},
        )
        if root.create_bytes(version_path(name, following.number), _head_bytes(following, note)):
            return following


def _newest(root: Root, name: str, known: Version | None) -> Version:
    """The newest version; the one that is known already where it is that, as its head says."""
    numbers = version_numbers(root, name)
    if known and numbers[-1:] == [known.number]:
        head = read_head(root, name, known.number)
        if (head.created, head.units, head.tables) == (known.created, known.units, known.tables):
            return known
    return read_version(root, name, numbers[-1]) if numbers else Version(name)


def read_version(root: Root, name: str, number: int) -> Version:
    """One version, whole. Raises FileNotFoundError where there is none, RootError where it cannot be read."""
    from storage.version_tables import read_tables

    head = read_head(root, name, number)
    try:
        sources, videos, shards = read_tables(root, head.tables)
    except StoreUnavailable:
        raise
    except (FileNotFoundError, RootError, ValueError, KeyError, TypeError) as error:
        raise _damaged(version_path(name, number), error) from error
    return Version(name, number, sources, videos, shards, head.units, head.recipes, head.created, head.tables)


def read_head(root: Root, name: str, number: int) -> Head:
    """What a version says without its tables. Raises FileNotFoundError, or RootError where it cannot be read."""
    path = version_path(name, number)
    data = root.read_bytes(path)
    try:
        record, schema = read_schema(data)
        if schema == SCHEMA:
            record = unseal(record)
            record["units"] = {unit: UnitEntry(**entry) for unit, entry in record["units"].items()}
            record["tables"] = {table: StoredFile(**file) for table, file in record["tables"].items()}
            return Head(**record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if schema < SCHEMA:
        raise RootError(f"root: {path} has schema {schema}, of before the first release; begin with an empty root")
    raise RootError(f"root: {path} has schema {schema}, this Tritrack reads {SCHEMA}; update Tritrack")


def version_numbers(root: Root, name: str) -> list[int]:
    """The numbers of the versions that there are, rising."""
    folder = version_path(name, 0).rsplit("/", 1)[0]
    stems = [entry.removesuffix(".json") for entry in root.names(folder) if entry.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def dataset_names(root: Root) -> list[str]:
    return [name for name in root.names("datasets") if _NAME.fullmatch(name)]


def unit_keys(version: Version) -> Iterator[tuple[str, str]]:
    """(stage, key) of every unit that the version reaches, those that units were accepted for included.

    A failed item has no unit. A removed source reaches its own, so that it returns without work.
    """
    for source in version.sources.values():
        if source.video and source.key and not source.failure:
            yield "download", source.key
    for video in version.videos.values():
        if not video.failure:
            yield from (("track", key) for key in keys_of(video))
    for shard in version.shards:
        yield from (("shard", key) for key in keys_of(shard))
    for name, unit in version.units.items():
        yield from ((unit_stage(name), key) for key in keys_of(unit))


def keys_of(entry: VideoEntry | ShardEntry | UnitEntry) -> list[str]:
    """The key of an entry's unit, and the one that it was accepted for, where there are such."""
    return [key for key in (entry.key, entry.accepted) if key]


def unit_stage(name: str) -> str:
    """The stage of one of `Version.units`."""
    return "shard" if name == "triplets" else name.split("/", 1)[0]


def counts_of(version: Version) -> dict[str, int]:
    """What the head of a version counts.

    Of what is wanted: `sources`, without the `lists` (playlists, channels, searches) that named some of them;
    `pending` of the sources were not tried yet; `failed` are sources, lists and videos. `removed`: tombstones.
    """
    wanted = [source for source in version.sources.values() if not source.removed]
    lists = sum(bool(source.listing) for source in wanted)
    reached = reached_videos(version)
    tracked = [entry for video, entry in version.videos.items() if video in reached]
    kept = [entry for entry in tracked if not entry.failure]
    return {
        "sources": len(wanted) - lists,
        "lists": lists,
        "pending": sum(map(is_pending, wanted)),
        "removed": len(version.sources) - len(wanted),
        "failed": sum(source.failure is not None for source in wanted) + len(tracked) - len(kept),
        "videos": len(kept),
        "bytes": held_bytes(version),
        "tracks": sum(video.tracks for video in kept),
        "shards": len(version.shards),
        "pairs": sum(shard.pairs for shard in version.shards),
    }


def is_pending(source: SourceEntry) -> bool:
    """Whether a source is known and was not tried yet."""
    return not (source.video or source.failure or source.listing)


def reached_videos(version: Version) -> set[str]:
    """The videos (SHA-256) that wanted sources gave."""
    return {entry.video for entry in version.sources.values() if entry.video and not entry.removed}


def held_bytes(version: Version) -> int:
    """Bytes of the raw videos that the data set keeps; one that several sources gave counts once."""
    sizes = {source.video: source.size for source in version.sources.values() if source.video and not source.removed}
    return sum(
        size for video, size in sizes.items() if video not in version.videos or not version.videos[video].dropped
    )


def version_path(name: str, number: int) -> str:
    if not _NAME.fullmatch(name):
        raise RootError(f"dataset: {name!r} is no data set name; use lower-case letters, digits, '.', '_' and '-'")
    return f"datasets/{name}/{number}.json"


def _head_bytes(version: Version, note: str) -> bytes:
    units = dict(sorted(version.units.items()))
    counts, recipes, tables = counts_of(version), version.recipes, version.tables
    head = Head(version.name, version.number, version.created, note, counts, units, recipes, tables)
    return seal(asdict(head))


def _used_recipes(version: Version) -> dict[str, JSON]:
    entries = (version.sources.values(), version.videos.values(), version.shards)
    used = {entry.recipe for group in entries for entry in group}
    return {digest: recipe for digest, recipe in version.recipes.items() if digest in used}


def _damaged(path: str, error: Exception) -> RootError:
    told = str(error).removeprefix("root: ").split("; ")[0]  # what is wrong, without the remedy for other files
    reason = (told if isinstance(error, RootError) else f"{type(error).__name__}: {error}").splitlines()[0]
    return RootError(f"root: {path} is damaged ({reason}); restore it, or delete it to go on from the version before")
