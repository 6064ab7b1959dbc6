"""The digest of an outside folder's contents, kept beside the shard cache: unchanged files are not read again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from storage.concurrency import in_threads
from storage.root import hash_file
from storage.shard_cache import cache_folder

_FRESH_NS = 2_000_000_000  # a file changed so lately may change again within the same tick of its clock


def contents_digest(place: Path) -> str:
    """SHA-256 (hex) of a file's bytes, or of a folder's: the names below it and the bytes of every regular file.

    Hidden names are left out; links count as what they lead to, a folder that is met again only once. The digest is
    remembered by the names, sizes, times and inodes. Raises ValueError, in one line, for what does not exist or cannot
    be read.
    """
    try:
        if not place.is_dir():
            return hash_file(place)[0]
        files = sorted(_walk(place), key=lambda entry: os.fsencode(entry[0]))
        listing, newest = _listing(place, files)
        remembered = cache_folder() / "folders" / f"{listing}.sha256"
        with contextlib.suppress(OSError):
            if len(kept := remembered.read_text(encoding="ascii")) == len(listing):
                return kept
        names = [name for name, _ in files]
        digest = digest_of(names, in_threads(hash_file, (place / name for name in names)))
    except OSError as error:
        raise ValueError(f"{str(error.filename or place)!r} cannot be read ({error.strerror})") from error
    _remember(remembered, digest, newest)
    return digest


def digest_of(names: Iterable[str], hashed: Iterable[tuple[str, int]]) -> str:
    """The digest of files by their names below a folder and their bytes, of which (SHA-256, size) is known."""
    digest = hashlib.sha256()
    for name, (sha256, _) in zip(names, hashed, strict=True):
        digest.update(os.fsencode(name) + b"\0" + bytes.fromhex(sha256))
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder; links to folders are followed, to each folder once."""
    seen: set[tuple[int, int]] = set()
    for inside, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = os.stat(inside)
        place = (status.st_dev, status.st_ino)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = os.path.join(inside, name)
            if not name.startswith(".") and stat.S_ISREG((status := os.stat(path)).st_mode):
                yield os.path.relpath(path, folder), status


def _listing(folder: Path, files: list[tuple[str, os.stat_result]]) -> tuple[str, int]:
    """A digest of all that a change of a file shows in, without reading it; and the latest change (ns)."""
    digest, newest = hashlib.sha256(os.fsencode(folder.resolve()) + b"\0"), 0
    for name, status in files:
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        digest.update(os.fsencode(name) + f"\0{status.st_size} {changed} {status.st_ino}\0".encode())
        newest = max(newest, changed)
    return digest.hexdigest(), newest


def _remember(path: Path, digest: str, newest: int) -> None:
    """Write the digest down, whole or not at all; a machine without room for it only reads again next time."""
    if time.time_ns() - newest < _FRESH_NS:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(digest, encoding="ascii")
        partial.replace(path)


def _raise(error: OSError) -> None:
    raise error
