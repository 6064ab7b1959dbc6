"""Object-store paths among the sources: which they are, which the user allows, and how they are opened."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from storage.root import Root, RootError, open_root
from tasks.download.redaction import redact

# Schemes of fsspec that name a store. Not `file` and its like, which read this machine's disk, nor http and ftp, nor
# what wraps another file system (`zip`, `simplecache`, `dir`, ...).
_STORES = frozenset(
    {
        "abfs", "abfss", "adl", "az", "box", "dbfs", "dropbox", "gcs", "gdrive", "gs", "hdfs", "hf", "lakefs", "memory",
        "oci", "ocilake", "oss", "s3", "s3a", "sftp", "smb", "ssh", "tos", "webdav", "webhdfs",
    }
)  # fmt: skip
_ALIASES = {"s3a": "s3", "gcs": "gs"}
_STORE_URL = re.compile(r"([A-Za-z][A-Za-z0-9]*)://(.*)", re.DOTALL)
_MAX_LIST_BYTES = 4 << 30  # of a list that lies in a store; it is copied to this machine's disk to be read


def normal_object(text: str) -> str | None:
    """The normal form of an object-store path (the scheme in lower case, one scheme a store); None for other text."""
    found = _STORE_URL.fullmatch(text)
    scheme = found[1].lower() if found else ""
    return f"{_ALIASES.get(scheme, scheme)}://{found[2]}" if found and scheme in _STORES else None


def allowed_place(location: str, allow_stores: Sequence[str]) -> tuple[str, str] | None:
    """The root to open for an object-store path, and the path in it; None where it lies under none of `allow_stores`.

    Prefixes match by whole parts: s3://bucket/clips holds s3://bucket/clips/a.mp4, not s3://bucket/clips2. A
    path with `.` or `..` in it lies nowhere, nor does one that fsspec would take for a chain (`::`). The root is the
    prefix itself, since credentials may be bound to it; so the path in it is empty for the prefix. Raises ValueError
    for a prefix that names no store.
    """
    normal = normal_object(location)
    prefixes = [_prefix(text) for text in allow_stores]
    if normal is None or "::" in normal or {".", ".."} & set(re.split(r"[/\\]", unquote(normal))):
        return None
    normal = normal.rstrip("/")
    for prefix in prefixes:
        if normal == prefix or normal.startswith(f"{prefix}/"):
            return prefix, normal[len(prefix) + 1 :]
    return None


def open_place(location: str, allow_stores: Sequence[str]) -> tuple[Root, str] | None:
    """The opened root of an object-store path and the path in it; None where it is not allowed. Raises RootError."""
    place = allowed_place(location, allow_stores)
    if place is None:
        return None
    with told_of_sources():
        return open_root(place[0], create=False), place[1]


def require_stores(allow_stores: Sequence[str]) -> None:
    """Raise ValueError, in one line, where a prefix names no object store."""
    for text in allow_stores:
        _prefix(text)


@contextmanager
def local_copy(location: str, root: Root, path: str) -> Iterator[Path]:
    """A list that lies in a store as a file on this machine, for as long as it is read."""
    shown = repr(redact(location))
    with tempfile.TemporaryDirectory(prefix="tritrack-list-") as folder:
        target = Path(folder) / "list"
        try:
            with told_of_sources():
                if (size := root.size(path)) > _MAX_LIST_BYTES:
                    raise ValueError(f"sources: {shown} has {size} bytes; split it into lists of {_MAX_LIST_BYTES}")
                root.download(path, target)
        except FileNotFoundError as error:
            raise ValueError(f"sources: {shown} does not exist; check it") from error
        yield target


@contextmanager
def told_of_sources() -> Iterator[None]:
    """A store's complaint, as one about the sources and not about the root that everything is written to."""
    try:
        yield
    except RootError as error:
        raise type(error)(str(error).replace("root: ", "sources: ", 1)) from error


def _prefix(text: str) -> str:
    normal = normal_object(text.strip())
    found = normal.rstrip("/") if normal else ""
    parts = found.split("/")
    if len(parts) < 3 or not parts[2] or "::" in found or {".", ".."} & set(parts):
        raise ValueError(
            f"download.allow_stores: {text!r} names no object store; give s3://bucket or s3://bucket/folder"
        )
    return found
