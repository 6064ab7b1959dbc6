"""What of a root is garbage: reached by no data set version, protected by no live work, and old enough."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from storage.contents import Progress, StageContents, read_stage, stage_names
from storage.history import History
from storage.layout import attempts_document_path, place_of
from storage.leases import live_leases
from storage.protection import LiveWork
from storage.root import Root
from storage.uploads import Upload, unfinished_uploads
from storage.walking import Entry

GarbageKind = Literal[
    "unit",  # a file of a unit that no version reaches
    "orphan",  # in the folder of a unit that is kept, named by no manifest
    "video",
    "version",  # older than those to keep
    "table",
    "attempt",  # a checkpoint that no run will go on from
    "temporary",  # a write that did not end
    "upload",  # the same, in parts on S3
    "lease",  # of a holder that is gone, or its plan
    "summary",  # of a stage's flow run, which nobody came to read
]

_WRITE_SECONDS = 3600.0
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Garbage:
    """One file to delete: its bytes, and the seconds since it was last written."""

    kind: GarbageKind
    path: str
    size: int
    age_seconds: float


@dataclass
class Search:
    """A search under way. `kept_young`: files that are garbage but for their age; `uploads` by path."""

    root: Root
    live: LiveWork
    history: History
    grace_seconds: float
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    found: list[Garbage] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    kept_young: int = 0
    named: set[str] = field(default_factory=set)
    all_names_known: bool = True

    def age_seconds(self, entry: Entry) -> float:
        return (self.now - entry.modified).total_seconds()

    def are_old(self, entries: Iterable[Entry]) -> bool:
        """Whether the youngest has outlived the grace."""
        return min(map(self.age_seconds, entries), default=0.0) >= self.grace_seconds

    def add(self, kind: GarbageKind, entries: Iterable[Entry]) -> None:
        """Files that belong together; the youngest keeps them all."""
        group = list(entries)
        if self.are_old(group):
            self.found += [Garbage(kind, one.path, one.size, round(self.age_seconds(one), 1)) for one in group]
        else:
            self.kept_young += len(group)

    def add_temporary(self, entry: Entry) -> None:
        """A write that has not ended; it may be under way beside live work, and for an hour in any case."""
        if not self.live.has_writer and self.age_seconds(entry) > _WRITE_SECONDS:
            self.add("temporary", [entry])


def find_garbage(search: Search, progress: Progress) -> None:
    """Look at every file below the root; Search says what it stands on, and gathers what is found."""
    for stage in stage_names(search.root):
        _search_stage(search, read_stage(search.root, stage, progress))
    _search_videos(search)
    _search_datasets(search)
    _search_state(search)
    if not search.live.has_writer:
        _search_uploads(search)


def _search_stage(search: Search, contents: StageContents) -> None:
    units: dict[str, list[Entry]] = defaultdict(list)
    attempts: dict[str, list[Entry]] = defaultdict(list)
    for entry in contents.entries:
        place = place_of(entry.path)
        if place.kind == "foreign" or place.key in search.live.keys:
            continue
        if entry.temporary:
            search.add_temporary(entry)
        elif place.kind == "attempt":
            attempts[place.key].append(entry)
        elif place.kind in ("unit", "manifest"):
            units[place.key].append(entry)
    doomed = _doomed_units(search, contents, units)
    for key, entries in units.items():
        if key in doomed:
            search.add("unit", entries)
        elif key in contents.manifests:
            loose = (one for one in entries if place_of(one.path).kind == "unit" and one.path not in search.named)
            for entry in loose:
                search.add("orphan", [entry])
    for key, entries in attempts.items():
        if key in contents.manifests or not _is_wanted(search, contents.stage, key):
            search.add("attempt", entries)


def _doomed_units(search: Search, contents: StageContents, units: Mapping[str, list[Entry]]) -> set[str]:
    """Keys that nothing keeps. A unit is kept with all files that it names, and with the unit that these lie in.

    A manifest of a newer Tritrack may name what we do not know, so that it keeps its unit, and every video.
    """
    newer = {key for key, fault in contents.unreadable.items() if fault.kind == "newer_manifest"}
    search.all_names_known &= not newer
    unreached = {key for key in units if key not in newer and (contents.stage, key) not in search.history.named}
    doomed = {key for key in unreached if search.are_old(units[key])}
    pending = [key for key in contents.manifests if key not in doomed]
    while pending:
        manifest = contents.manifests[pending.pop()]
        search.named.update(file.path for file in manifest.files.values())
        below = {place.key for file in manifest.files.values() if (place := place_of(file.path)).kind == "unit"}
        below |= {manifest.accepted.key} if manifest.accepted else set()
        pending += [key for key in below & doomed if key in contents.manifests]
        doomed -= below
    search.kept_young += sum(len(units[key]) for key in unreached if not search.are_old(units[key]))
    return doomed


def _is_wanted(search: Search, stage: str, key: str) -> bool:
    """Whether a run may still go on from the attempts at a unit that is not committed.

    It may while the newest version of a data set reaches all that the unit is made from: a data set that has grown
    since trains on another index, under another key.
    """
    if (stage, key) in search.history.named:
        return True
    try:
        inputs = json.loads(search.root.read_bytes(attempts_document_path(stage, key)))["inputs"].values()
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return False
    upstream = {value for value in inputs if isinstance(value, str) and _KEY.fullmatch(value)}
    return bool(upstream) and upstream <= {current for _, current in search.history.current}


def _search_videos(search: Search) -> None:
    """A live run may be about to use any video, whoever fetched it."""
    known, dropped = search.history.videos, search.history.dropped
    for entry in search.root.walk("videos"):
        place = place_of(entry.path)
        unknown = place.key not in known and entry.path not in search.named
        if entry.temporary:
            search.add_temporary(entry)
        elif search.live.has_run or not search.all_names_known or place.kind != "video":
            continue
        elif unknown or place.key in dropped:  # a run was killed before it removed those that were dropped
            search.add("video", [entry])


def _search_datasets(search: Search) -> None:
    for entry in search.root.walk("datasets"):
        if entry.temporary:
            search.add_temporary(entry)
        elif search.live.has_run or entry.path in search.history.tables:
            continue
        elif place_of(entry.path).kind == "table":
            search.add("table", [entry])
        elif entry.path in search.history.outdated:  # whatever its age: the user said how many to keep
            search.found.append(Garbage("version", entry.path, entry.size, round(search.age_seconds(entry), 1)))


def _search_state(search: Search) -> None:
    """Who is live is asked after the listing: a lease that began since is no dead one, whatever the grace."""
    entries = list(search.root.walk("state"))
    live = {lease.id for lease in live_leases(search.root)}
    for entry in entries:
        if entry.temporary:
            search.add_temporary(entry)
        elif (lease := place_of(entry.path).lease) and lease not in live:
            search.add("lease", [entry])
        elif place_of(entry.path).kind == "summary" and not search.live.has_run:
            search.add("summary", [entry])


def _search_uploads(search: Search) -> None:
    for upload in unfinished_uploads(search.root):
        entry = Entry(upload.path, upload.size, upload.began)
        if search.age_seconds(entry) > _WRITE_SECONDS and search.are_old([entry]):
            search.uploads.append(upload)
            search.add("upload", [entry])
