"""The scratch folder: where a source's bytes lie until they are whole, and from where a broken fetch goes on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.download.settings import fetch_settings
from tasks.limits import OutOfTime
from tasks.records import Dropped, Paused

_KEEP_SECONDS = 7 * 86_400.0  # what no run came back to within a week
_LONGEST_VALIDATOR = 1000
_VALIDATORS = "validators.json"


class Validators:
    """What a server calls the version of a body (ETag or date), by URL: kept beside the unfinished file.

    Once a server calls it otherwise, what is left of the earlier version goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / _VALIDATORS
        try:
            read = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):  # ValueError: killed while it wrote
            read = {}
        self._known: dict[str, str] = read if isinstance(read, dict) else {}

    def get(self, url: str) -> str:
        return str(self._known.get(_name(url), ""))

    def keep(self, url: str, validator: str) -> None:
        """Note what a server calls the body of a URL now."""
        standing = self._known.get(_name(url))
        if len(validator) <= _LONGEST_VALIDATOR and standing != validator:
            if standing:
                drop_parts(self._folder)
            self._known[_name(url)] = validator
            self._path.write_text(json.dumps(self._known), encoding="utf-8")


def drop_parts(folder: Path) -> None:
    """Drop the unfinished file of a scratch folder, and what yt-dlp noted beside it."""
    for part in folder.glob("video*"):
        part.unlink()


@contextlib.contextmanager
def scratch_folder(key: str) -> Iterator[Path]:
    """A folder for the fetch of one unit. What is left in it when the fetch breaks off is there the next time.

    It is emptied once the block ends well, or in a way that a second try would only repeat. A second process that
    fetches the same unit at the same time gets a folder of its own, for that one time.
    """
    folder = scratch_root() / key
    lock = _take(folder)
    if lock is None:
        with tempfile.TemporaryDirectory(prefix="once-", dir=scratch_root()) as once:
            yield Path(once)
        return
    keep = False
    try:
        yield folder
    except Dropped as dropped:
        keep = dropped.kind == "transient"
        raise
    except (OutOfTime, Paused, KeyboardInterrupt):
        keep = True
        raise
    finally:
        if not keep or not ((folder / _VALIDATORS).exists() and any(folder.glob("*.part"))):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def scratch_root() -> Path:
    """The user's own folder below TRITRACK_SCRATCH or the system's temporary one. Raises Paused where it is not."""
    base = fetch_settings().scratch or Path(tempfile.gettempdir())
    folder = base / f"tritrack-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise Paused(
            f"scratch: {folder} cannot be made ({error.strerror}); set TRITRACK_SCRATCH to a folder"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Paused(f"scratch: {folder} is not this user's own folder; remove it, or set TRITRACK_SCRATCH")
    return folder


def prune_scratch(limit_bytes: int) -> None:
    """Drop what nobody came back to, and the oldest beyond so many bytes; what is being fetched now stays."""
    held = 0
    for folder in sorted(scratch_root().iterdir(), key=_changed, reverse=True):
        size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
        if held + size <= limit_bytes and time.time() - _changed(folder) < _KEEP_SECONDS:
            held += size
        elif (lock := _take(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _take(folder: Path) -> int | None:
    """Make and lock a folder; None where another process holds it. The lock ends with the process."""
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == folder.stat().st_ino:  # else who held it has just removed it
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _name(url: str) -> str:
    """A digest: a URL may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]
