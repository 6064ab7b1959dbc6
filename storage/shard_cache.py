"""A cache of remote shards on local disk: shared by all processes of a machine and kept between runs, up to a size.

A shard is a file named by its digest. Whoever uses or fetches one holds a shared lock on `<digest>.lock`, who drops it
an exclusive one, and only one at a time that on `<digest>.fetch` fetches it. The kernel drops the locks of a process
that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from storage.manifests import StoredFile, damaged, missing
from storage.root import Root, RootError, hash_file

CACHE_VARIABLE = "TRITRACK_CACHE"

# A shard, its locks, and what is half written of it. Nothing else in the folder is touched.
_NAME = re.compile(r"\.?([0-9a-f]{64})(\.lock|\.fetch|\.partial(\.[0-9a-f]{8})?)?")


@dataclass(frozen=True)
class HeldShard:
    """A cached shard that stays while it is held; `lock` is the file descriptor that holds it."""

    path: Path
    lock: int

    def release(self) -> None:
        os.close(self.lock)


def cache_folder() -> Path:
    """The folder that `TRITRACK_CACHE` names, or `tritrack/shards` in the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE, ""):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "tritrack" / "shards"


def hold_shard(root: Root, file: StoredFile, folder: Path, limit_bytes: int | None = None) -> HeldShard:
    """The local copy of a remote shard, fetched and verified where it is not there; release it after use.

    Where another process fetches it, that one is waited for. Room is made first: the least recently used shards go
    until the folder holds `limit_bytes`. One that is held never goes, so shards in use alone may take more. Raises
    RootError for a shard that is missing or damaged, and for a folder that cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(folder / f"{file.sha256}.lock", fcntl.LOCK_SH)
        try:
            path = _require(root, file, folder, limit_bytes)
            os.utime(path)  # its time of change is that of its last use
            if limit_bytes is not None:
                make_room(folder, limit_bytes)
        except BaseException:
            os.close(lock)
            if not (folder / file.sha256).exists():
                _drop(folder, file.sha256)  # what is left of it
            raise
        return HeldShard(path, lock)
    except OSError as error:
        raise RootError(
            f"cache: {folder} cannot keep {file.path} ({error.strerror}); free space there, lower train.cache_bytes, "
            f"or set {CACHE_VARIABLE} to another folder"
        ) from error


def make_room(folder: Path, limit_bytes: int) -> None:
    """Drop the least recently used shards until the folder holds `limit_bytes`; what is held stays.

    What killed processes left half written goes first.
    """
    sizes: Counter[str] = Counter()
    used: dict[str, int] = {}
    for entry in os.scandir(folder):
        if not (match := _NAME.fullmatch(entry.name)):
            continue  # not of this cache
        with contextlib.suppress(FileNotFoundError):  # another process dropped or renamed it
            status = entry.stat(follow_symlinks=False)
            sizes[match[1]] += status.st_size
            if entry.name == match[1]:
                used[match[1]] = status.st_mtime_ns
    for name in sorted(sizes, key=lambda name: used.get(name, 0)):
        if name in used and sizes.total() <= limit_bytes:
            break
        if _drop(folder, name):
            del sizes[name]


def _require(root: Root, file: StoredFile, folder: Path, limit_bytes: int | None) -> Path:
    """The shard's file, fetched where it is not whole; its lock is held."""
    path, fetch = folder / file.sha256, folder / f"{file.sha256}.fetch"
    if not _is_whole(path, file):
        lock = _lock(fetch, fcntl.LOCK_EX)
        try:
            if not _is_whole(path, file):  # else another process was first
                if limit_bytes is not None:
                    make_room(folder, max(0, limit_bytes - file.size))
                _fetch(root, file, folder)
        finally:
            fetch.unlink(missing_ok=True)
            os.close(lock)
    return path


def _fetch(root: Root, file: StoredFile, folder: Path) -> None:
    """Download, verify, name."""
    partial = folder / f"{file.sha256}.partial"
    try:
        root.download(file.path, partial)
        if hash_file(partial) != (file.sha256, file.size):
            raise damaged(file.path)
        os.replace(partial, folder / file.sha256)
    except FileNotFoundError as error:
        raise missing(file.path) from error
    finally:
        _remove_partial(folder, file.sha256)


def _drop(folder: Path, name: str) -> bool:
    """Remove a shard and what is half written of it; False where it is in use."""
    path = folder / f"{name}.lock"
    lock = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        return False
    for left in (folder / name, folder / f"{name}.fetch"):
        left.unlink(missing_ok=True)
    _remove_partial(folder, name)
    path.unlink(missing_ok=True)
    os.close(lock)
    return True


def _remove_partial(folder: Path, name: str) -> None:
    for path in (folder / f"{name}.partial", *folder.glob(f".{name}.partial.*")):
        path.unlink(missing_ok=True)


def _is_whole(path: Path, file: StoredFile) -> bool:
    try:
        return path.stat().st_size == file.size
    except FileNotFoundError:
        return False


def _lock(path: Path, operation: int) -> int:
    """Take a lock, waiting for it; an open file descriptor."""
    while True:
        lock = _take(path, operation)
        if lock is not None:
            return lock


def _take(path: Path, operation: int) -> int | None:
    """Take a lock; None where it is held and `operation` does not wait, or where its file was removed meanwhile."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, operation)
        if os.fstat(lock).st_ino == path.stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
