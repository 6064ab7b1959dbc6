"""Sources: what a user names (a list, a folder, a file or a URL), as records with stable ids."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

SourceKind = Literal["url", "file"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

# Containers that FFmpeg reads and that hold moving pictures; a file named otherwise is listed by name.
_VIDEO_SUFFIX = re.compile(
    r"\.(3g2|3gp|asf|avi|divx|dv|f4v|flv|gif|h264|h265|hevc|ivf|m2ts|m2v|m4v|mj2|mjpeg|mkv|mov|mp4|mpe|mpeg|mpg"
    r"|mts|mxf|nut|ogm|ogv|qt|rm|rmvb|ts|vob|webm|wmv|wtv|y4m)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """One source. `id`: SHA-256 (hex) of the normalised location; `location`: a URL or an absolute path."""

    id: str
    location: str
    kind: SourceKind


def read_sources(argument: str) -> list[Source]:
    """The sources that one argument names, folded and sorted by id, so that their order says nothing.

    A `.txt` list (one source a line; blank lines and lines that start with # are skipped; relative paths start
    from the list's folder), a folder (its video files, by suffix, at any depth), one file, or one URL. Raises
    ValueError where a path does not exist; a dead line of a list is a source that fails later, and is counted.
    """
    text = argument.strip()
    if _is_url(text):
        found = [source_at(text)]
    elif os.path.isdir(text):
        found = list(_folder_sources(Path(text)))
    elif not os.path.isfile(text):
        raise ValueError(f"sources: {argument!r} does not exist; give a .txt list, a folder, a video file or a URL")
    elif text.lower().endswith(".txt"):
        found = list(_list_sources(Path(text)))
    else:
        found = [source_at(text)]
    return sorted({source.id: source for source in found}.values(), key=lambda source: source.id)


def source_at(location: str) -> Source:
    """The source at one location, a URL or a path (made absolute); it need not exist any more."""
    if _is_url(location):
        return Source(_digest(_normal_url(location)), location, "url")
    path = os.path.abspath(location)
    return Source(_digest(path), path, "file")


def _list_sources(path: Path) -> Iterator[Source]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"sources: {str(path)!r} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        target = line if _is_url(line) else os.path.join(path.parent, os.path.expanduser(line))
        if os.path.isdir(target):
            yield from _folder_sources(Path(target))
        else:
            yield source_at(target)


def _folder_sources(folder: Path) -> Iterator[Source]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and _VIDEO_SUFFIX.fullmatch(Path(name).suffix):
                yield source_at(os.path.join(parent, name))


def _is_url(text: str) -> bool:
    return bool(_SCHEME.match(text)) and not os.path.exists(text)


def _normal_url(url: str) -> str:
    """Scheme and host in lower case, no default port, no empty path: what no server tells apart."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a broken IPv6 host: the fetch will say so
        return url
    user, at, host = parts.netloc.rpartition("@")
    scheme = parts.scheme.lower()
    host = host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ":"))
    path = parts.path or ("/" if host else "")
    return urlunsplit((scheme, f"{user}{at}{host}", path, parts.query, parts.fragment))


def _digest(location: str) -> str:
    return hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()
