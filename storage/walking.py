"""Recursive listings: every file below a folder, with its size and when it was written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
# Where fsspec's file systems put the time of the last write: s3fs; adlfs; local, gcsfs and sftp; memory.
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")


@dataclass(frozen=True)
class Entry:
    """A file below a root: its path, bytes, and when it was last written (aware, UTC).

    `temporary` marks what a writer of ours on local disk has not named yet: it is in the middle of a
    write, or was killed there, so that only an old one may be removed. Object stores have none.
    """

    path: str
    size: int
    modified: datetime
    temporary: bool = False


def temporary_name(name: str, token: str) -> str:
    """What a file is called while it is written; `token` is 8 hexadecimal digits."""
    return f".{name}.{token}"


def walk_local(base: str, folder: str) -> Iterator[Entry]:
    """Every file below `folder` of the local root at `base`, in no order.

    Hidden files are left out, but for our own temporaries. A linked folder is followed where it leads out
    of the root (to a bigger disk), and not where it leads back into it: its files would appear twice.
    """
    pending = [f"{base}/{folder}" if folder else base or "/"]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed since its parent was listed
        for entry in entries:
            temporary = is_temporary(entry.name)
            if entry.name.startswith(".") and not temporary:
                continue
            try:
                if entry.is_dir():
                    if not (entry.is_symlink() and _is_inside(entry.path, base)):
                        pending.append(entry.path)
                    continue
                status = entry.stat()
            except FileNotFoundError:
                continue
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            yield Entry(entry.path[len(base) + 1 :], status.st_size, modified, temporary)


def is_temporary(name: str) -> bool:
    return _TEMPORARY.fullmatch(name) is not None


def modified_time(info: Mapping[str, Any]) -> datetime | None:
    """The time of the last write out of what fsspec knows of a file; None where it says nothing."""
    value = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _is_inside(path: str, folder: str) -> bool:
    real, base = os.path.realpath(path), os.path.realpath(folder)
    return real == base or real.startswith(base + os.sep)
