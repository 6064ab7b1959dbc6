"""Sources: what a user names (a list, a folder, a file, a URL, a search, a store), as records with stable ids."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal

from storage.root import RootError
from tasks.download.folders import is_video_name, local_videos, stored_videos
from tasks.download.lists import BadList, Line, list_format, read_lines
from tasks.download.redaction import redact
from tasks.download.stores import (
    local_copy,
    normal_object,
    open_place,
    require_stores,
    told_of_sources,
)
from tasks.download.urls import normal_search, normal_url

SourceKind = Literal["url", "file", "object", "search"]

MAX_CHARACTERS = 4096
"""Of a location: no path of Linux is longer, and few servers take a longer URL."""

UNUSABLE = "unusable:"
"""How the location of a source begins that no fetch can use; the words after the second colon say why."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHOWN_CHARACTERS = 200
_TOO_LONG = f"it has more than {MAX_CHARACTERS} characters"
_WEB = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class Source:
    """One source. `id`: SHA-256 (hex) of the location; `location`: a URL, a search or an object-store path in its
    normal form, or an absolute path. `given`: what a list says of it beside its location, a canonical JSON object (see
    `columns.given_text`), or empty.
    """

    id: str
    location: str
    kind: SourceKind
    given: str = ""


def read_sources(argument: str, allow_stores: Sequence[str] = ()) -> list[Source]:
    """The sources that one argument names, folded and sorted by id, so that their order says nothing.

    A list (see `lists`; relative paths start from its folder, and a folder in it stands for its videos), a folder (its
    video files, by suffix, at any depth), one file, a URL, a search, or an object-store path: a list, a folder (what
    ends in /, or holds videos) or a video. Stores are opened under a prefix of `allow_stores` only. What stands in
    a list and cannot be used is a source that the fetch drops, and is counted. Raises ValueError, in one line, where
    the argument itself cannot be used or a row cannot be read, and RootError where a store cannot.
    """
    require_stores(allow_stores)
    folded: dict[str, Source] = {}
    for source in _named(argument.strip(), allow_stores):
        standing = folded.get(source.id)
        if standing is None or (source.given and (not standing.given or source.given < standing.given)):
            folded[source.id] = source
    return sorted(folded.values(), key=attrgetter("id"))


def source_at(location: str, given: str = "") -> Source:
    """The source at one location: a URL, a search, an object-store path, or a path (made absolute).

    It need not exist any more, and this never raises: what no fetch can use gets a location that says so (`UNUSABLE`).
    """
    reason = _fault(location)
    return unusable(location, reason, given) if reason else _local(location, given) or _remote(location, given)


def kind_of(location: str) -> SourceKind:
    """The kind of a source by its location as a source holds it (normal, or an absolute path)."""
    if os.path.isabs(location):
        return "file"
    if location.startswith(_WEB):
        return "url"
    return "object" if normal_object(location) else "search" if normal_search(location) else "url"


def unusable(location: str, reason: str, given: str = "") -> Source:
    """The source that stands for a location which nothing can fetch, so that it is dropped and counted."""
    shown = _CONTROL.sub("\ufffd", location.partition("#__youtubedl")[0][:_SHOWN_CHARACTERS]).strip()
    stand_in = f"{UNUSABLE}{_digest(location)[:16]}: {reason}: {shown}"
    return Source(_digest(stand_in), stand_in, "url", given)


def _named(text: str, allow_stores: Sequence[str]) -> Iterator[Source]:
    """What an argument names, with repeats."""
    shown = repr(redact(text[:_SHOWN_CHARACTERS]))
    if reason := _fault(text):
        raise ValueError(f"sources: {shown} cannot be used ({reason})")
    if os.path.isdir(text):
        return map(source_at, local_videos(text))
    if os.path.isfile(text):
        return _file(text, shown, allow_stores)
    if text.lower().startswith("file:"):
        raise ValueError(f"sources: {shown} is a URL of a file; give its path")
    if not _SCHEME.match(text):
        raise ValueError(
            f"sources: {shown} does not exist; give a list (.txt, .csv, .tsv, .jsonl, .parquet), a folder, a video "
            "file, a URL, a search, or an object-store path"
        )
    return _stored(text, shown, allow_stores) if normal_object(text) else iter((_remote(text, ""),))


def _file(path: str, shown: str, allow_stores: Sequence[str]) -> Iterator[Source]:
    """One local file: a list, or a video."""
    folder = os.path.dirname(os.path.abspath(path))
    if suffix := _list_suffix(path, shown):
        yield from _rows(Path(path), suffix, shown, lambda line: _local_line(line, folder, allow_stores))
    else:
        yield source_at(os.path.abspath(path))


def _stored(text: str, shown: str, allow_stores: Sequence[str]) -> Iterator[Source]:
    """An argument that lies in a store: a list, a video, or a folder of videos."""
    location = _remote(text, "").location
    place = open_place(location, allow_stores)
    if place is None:
        bucket = redact("/".join(location.split("/")[:3]))
        remedy = f"--set 'download.allow_stores=[\"{bucket}\"]'"
        raise ValueError(f"sources: {shown} lies in no store of download.allow_stores; allow it with {remedy}")
    root, path = place
    if suffix := _list_suffix(location, shown):
        folder = location.rpartition("/")[0]
        with local_copy(location, root, path) as copy:
            yield from _rows(copy, suffix, shown, lambda line: _stored_line(line, folder, allow_stores))
        return
    videos = [] if is_video_name(location) else list(stored_videos(location, root, path.rstrip("/")))
    yield from map(source_at, videos)
    if not videos and not _is_stored_folder(location):
        with told_of_sources():
            if not root.exists(path):
                raise ValueError(f"sources: {shown} does not exist; check it")
        yield source_at(location)


def _rows(path: Path, suffix: str, shown: str, sources_of: Callable[[Line], Iterator[Source]]) -> Iterator[Source]:
    """What the rows of a list name. Whatever ends the reading names the list, and the row."""
    try:
        for line in read_lines(path, suffix):
            try:
                yield from sources_of(line)
            except RootError as error:
                words = str(error).removeprefix("sources: ")
                raise type(error)(f"sources: {shown}, line {line.number}: {words}") from error
    except BadList as error:
        raise ValueError(f"sources: {shown}{error}") from error


def _local_line(line: Line, folder: str, allow_stores: Sequence[str]) -> Iterator[Source]:
    """What a row of a list on this machine names; a relative path starts from the list's folder."""
    text, given = line.location, line.given
    if _fault(text):
        yield source_at(text, given)
    elif _SCHEME.match(text) and ("://" in text or not os.path.exists(os.path.join(folder, text))):
        yield from _expanded(_remote(text, given), allow_stores)
    else:
        path = os.path.join(folder, os.path.expanduser(text))
        if os.path.isdir(path):
            yield from (source_at(video, given) for video in local_videos(path))
        else:
            yield source_at(os.path.abspath(path), given)


def _stored_line(line: Line, folder: str, allow_stores: Sequence[str]) -> Iterator[Source]:
    """What a row of a list in a store names: never a path of this machine, since others may write that list."""
    text, given = line.location, line.given
    if _fault(text):
        yield source_at(text, given)
    elif _SCHEME.match(text):
        yield from _expanded(_remote(text, given), allow_stores)
    elif text.startswith(("/", "~")) or ".." in text.split("/"):
        yield unusable(text, "a list in a store names URLs, searches and what lies beside it, no path elsewhere", given)
    else:
        yield from _expanded(source_at(f"{folder}/{text}", given), allow_stores)


def _expanded(source: Source, allow_stores: Sequence[str]) -> Iterator[Source]:
    """The videos of a folder of an allowed store, or the source itself; the fetch drops what is not allowed."""
    videos: list[str] = []
    if source.kind == "object" and _is_stored_folder(source.location):
        place = open_place(source.location, allow_stores)
        videos = list(stored_videos(source.location, place[0], place[1].rstrip("/"))) if place else []
    if videos:
        yield from (source_at(video, source.given) for video in videos)
    else:
        yield source


def _is_stored_folder(location: str) -> bool:
    """Whether a path in a store is a folder by its looks: it ends in /, or is a bucket."""
    return location.endswith("/") or location.count("/") == 2


def _list_suffix(path: str, shown: str) -> str:
    try:
        return list_format(path)
    except BadList as error:
        raise ValueError(f"sources: {shown}{error}") from error


def _local(location: str, given: str) -> Source | None:
    """A path's source; None for what is no path. A file may be named like a URL without slashes."""
    if _SCHEME.match(location) and ("://" in location or not os.path.exists(location)):
        return None
    return _source(os.path.abspath(location), "file", given)


def _remote(location: str, given: str) -> Source:
    """The source of a URL, a search or an object-store path, in normal form."""
    if location.startswith(_WEB):
        return _source(normal_url(location), "url", given)
    if normal := normal_object(location):
        return _source(normal, "object", given)
    if normal := normal_search(location):
        return _source(normal, "search", given)
    return _source(normal_url(location), "url", given)


def _source(location: str, kind: SourceKind, given: str) -> Source:
    if len(location) > MAX_CHARACTERS:
        return unusable(location, _TOO_LONG, given)
    return Source(_digest(location), location, kind, given)


def _fault(location: str) -> str:
    """Why no fetch can use a location, in words, or nothing."""
    if len(location) > MAX_CHARACTERS:
        return _TOO_LONG
    if location.isprintable() or not (found := _CONTROL.search(location)):
        return ""
    return "it is no UTF-8 text" if "\ud800" <= found[0] <= "\udfff" else "it holds control characters"


def _digest(location: str) -> str:
    return hashlib.sha256(location.encode("utf-8", "surrogatepass")).hexdigest()
