"""What all versions of all data sets say together: the units, videos and tables that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from storage.contents import examine_file
from storage.manifests import StoredFile
from storage.root import Root, RootError, StoreUnavailable
from storage.sealing import schema_number
from storage.versions import (
    SCHEMA,
    TableName,
    Version,
    dataset_names,
    keys_of,
    reached_videos,
    read_head,
    read_version,
    unit_keys,
    unit_stage,
    version_numbers,
    version_path,
)

UnitName = tuple[str, str]
"""A unit: its stage and its key."""

FaultKind = Literal["damaged_head", "missing_head", "newer_head", "damaged_table", "missing_table"]


@dataclass(frozen=True)
class HistoryFault:
    """Versions (numbers) that cannot be read: which file is the reason, in words what it is and what to do."""

    kind: FaultKind
    path: str
    dataset: str
    numbers: tuple[int, ...]
    words: str


@dataclass
class History:
    """Gathered over the versions of all data sets.

    `named`: units that any version reaches; `current`: those that the newest version of a data set reaches,
    with the data sets' names. `videos`: every video (SHA-256) that any version knows. `dropped`: videos whose
    bytes were dropped once tracked, as the newest version of every data set that reaches them says; `needed`: those
    of which one says otherwise. `purged`: units made from videos that were
    purged. `tables`: paths of the tables that heads name; `metadata`: those of them that are not read with a version,
    by path, and `current_metadata`: the data set whose newest version names one. `faults`: what could not be read,
    so that all else is less than the whole. `outdated`: heads of the versions that were left out as too old.
    """

    named: set[UnitName] = field(default_factory=set)
    current: dict[UnitName, set[str]] = field(default_factory=dict)
    videos: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    purged: set[UnitName] = field(default_factory=set)
    purged_videos: frozenset[str] = frozenset()
    tables: set[str] = field(default_factory=set)
    metadata: dict[str, StoredFile] = field(default_factory=dict)
    current_metadata: dict[str, str] = field(default_factory=dict)
    faults: list[HistoryFault] = field(default_factory=list)
    versions: int = 0
    outdated: set[str] = field(default_factory=set)

    @property
    def gaps(self) -> list[HistoryFault]:
        """Faults that hide what a version names. One whose head is gone names nothing any more."""
        return [fault for fault in self.faults if fault.kind != "missing_head"]


def read_history(root: Root, newest: int | None = None) -> History:
    """Read every version of every data set, one at a time; tables that versions share are read once in a row.

    `newest`: only so many of each data set, as if there were no older ones; 1 or more.
    """
    purged = (name.removesuffix(".json") for name in root.names("state/purged"))
    history = History(purged_videos=frozenset(purged))
    for dataset in dataset_names(root):
        _read_dataset(root, dataset, history, newest)
    history.dropped -= history.needed
    return history


def _read_dataset(root: Root, dataset: str, history: History, newest_only: int | None) -> None:
    dropped: dict[str, bool] = {}
    newest: Version | None = None
    for version in _readable_versions(root, dataset, history, newest_only):
        history.versions += 1
        history.named.update(unit_keys(version))
        history.purged.update(_units_of_purged(version, history.purged_videos))
        if newest is None or version.tables != newest.tables:
            history.videos.update(version.videos)
            history.videos.update(entry.video for entry in version.sources.values() if entry.video)
            dropped.update((video, entry.dropped) for video, entry in version.videos.items())
        newest = version
    history.dropped.update(video for video, is_dropped in dropped.items() if is_dropped)
    history.needed.update(video for video in (reached_videos(newest) if newest else ()) if not dropped.get(video))
    unread = [number for fault in history.faults if fault.dataset == dataset for number in fault.numbers]
    if newest and newest.number > max(unread, default=0) and (table := newest.tables.get("metadata")):
        history.current_metadata[table.path] = dataset
    for unit in unit_keys(newest) if newest else ():
        history.current.setdefault(unit, set()).add(dataset)


def _readable_versions(root: Root, dataset: str, history: History, newest_only: int | None = None) -> Iterator[Version]:
    """The versions from the first to the newest; what keeps one from being read becomes a fault."""
    before: Version | None = None
    numbers = version_numbers(root, dataset)
    if newest_only is not None:
        history.outdated.update(version_path(dataset, number) for number in numbers[:-newest_only])
        numbers = numbers[-newest_only:]
    for number in range(numbers[0], numbers[-1] + 1) if numbers else ():
        path = version_path(dataset, number)
        try:
            head = read_head(root, dataset, number)
            history.tables.update(file.path for file in head.tables.values())
            if table := head.tables.get("metadata"):
                history.metadata[table.path] = table
            if before is not None and _read_tables(head.tables) == _read_tables(before.tables):
                before = replace(before, number=number, units=head.units, recipes=head.recipes, created=head.created)
                before = replace(before, tables=head.tables)
            else:
                before = read_version(root, dataset, number)
        except FileNotFoundError:
            words = "versions before and after it are there; restore it if there is a copy, nothing else stands on it"
            history.faults.append(HistoryFault("missing_head", path, dataset, (number,), words))
            continue
        except StoreUnavailable:
            raise
        except RootError as error:
            for fault in _explain(root, dataset, number, str(error)):
                _add(history.faults, fault)
            continue
        yield before


def _explain(root: Root, dataset: str, number: int, words: str) -> Iterator[HistoryFault]:
    """Why a version cannot be read: its tables where they are at fault, else its head."""
    path = version_path(dataset, number)
    try:
        head = read_head(root, dataset, number)
    except StoreUnavailable:
        raise
    except RootError:
        kind: FaultKind = "newer_head" if schema_number(root.read_bytes(path)) > SCHEMA else "damaged_head"
        yield HistoryFault(kind, path, dataset, (number,), words)
        return
    files = _read_tables(head.tables).values()
    broken = [(file.path, fault) for file in files if (fault := examine_file(root, file, quick=False))]
    for table, (what, words) in broken:
        kind = "missing_table" if what == "missing" else "damaged_table"
        words += f"; restore it, or delete every version that names it to go on from the one before: {path}"
        yield HistoryFault(kind, table, dataset, (number,), words)
    if not broken:
        yield HistoryFault("damaged_head", path, dataset, (number,), words)


def _read_tables(tables: Mapping[TableName, StoredFile]) -> dict[TableName, StoredFile]:
    """The tables that a version is read from."""
    return {name: file for name, file in tables.items() if name != "metadata"}


def _add(faults: list[HistoryFault], fault: HistoryFault) -> None:
    """One fault a file: versions that share a broken table share its fault."""
    for index, known in enumerate(faults):
        if known.path == fault.path:
            words = f"{known.words}, {version_path(fault.dataset, *fault.numbers)}"
            faults[index] = replace(known, numbers=known.numbers + fault.numbers, words=words)
            return
    faults.append(fault)


def _units_of_purged(version: Version, purged: frozenset[str]) -> Iterator[UnitName]:
    """The version's units that were made from purged videos: of those themselves, and all that reduces over them."""
    videos = purged & version.videos.keys() if purged else frozenset()
    for source in version.sources.values():
        if source.video in purged and source.key:
            yield "download", source.key
    tracks = {key for video in videos for key in keys_of(version.videos[video])}
    yield from (("track", key) for key in tracks)
    for shard in version.shards:
        if not tracks.isdisjoint(shard.tracks):
            yield from (("shard", key) for key in keys_of(shard))
    if videos:
        for name, unit in version.units.items():
            yield from ((unit_stage(name), key) for key in keys_of(unit))
