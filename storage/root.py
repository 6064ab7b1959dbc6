"""One storage root: a local folder or any fsspec URL. Everything Tritrack keeps lies below it."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

from storage import local as local_files
from storage import remote
from storage.concurrency import in_threads
from storage.opening import connect
from storage.retrying import RootError, StoreUnavailable, persistently, refusal
from storage.traffic import count
from storage.walking import Entry, modified_time, walk_local

__all__ = ["Entry", "Root", "RootError", "StoreUnavailable", "hash_file", "open_root"]

_RANGE_BYTES = 4 << 20  # of a file that comes down in ranges; twice `concurrency()` of them are in memory
# Where the answer to an upload's last request is lost, the store has finished the upload and knows it no more.
_FORGOTTEN_UPLOAD = (FileNotFoundError,)

Result = TypeVar("Result")


class Root:
    """Files below one URL, addressed by relative paths with forward slashes.

    A reader never sees half a file: local files appear by link or rename, object stores commit whole
    objects. What fails for the moment is tried again for `TRITRACK_RETRY_SECONDS`, then raises
    StoreUnavailable; what is refused raises RootError. Any thread may use a root. It pickles as its URL,
    so that child processes open their own connection.
    """

    def __init__(self, filesystem: Any, base: str, url: str) -> None:
        self.filesystem = filesystem
        self.base = base.rstrip("/")
        self.url = url
        self.is_local = isinstance(filesystem, LocalFileSystem)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return open_root, (self.url,)

    def __repr__(self) -> str:
        return f"Root({self.url!r})"

    def full(self, path: str) -> str:
        """The path as the file system below takes it; raises RootError for one that leads out of the root."""
        if leads_out(path):
            raise RootError(f"root: {path!r} leads out of {self.url!r}; what names it was not written by Tritrack")
        return f"{self.base}/{path}" if path else self.base

    def local_path(self, path: str) -> Path | None:
        """The file on this machine's disk, for whoever opens it there, or None where the root is remote.

        It counts as read (`storage.traffic`).
        """
        local = self._local(path)
        if local is not None and local.is_file():
            count(bytes_in=local.stat().st_size)
        return local

    def _local(self, path: str) -> Path | None:
        return Path(self.full(path)) if self.is_local else None

    def exists(self, path: str) -> bool:
        """Whether there is such a file, or a folder with files below it. Never served from a stale listing."""
        if self.is_local:
            count(requests=1)
            return os.path.exists(self.full(path))
        return self._persistently(path, lambda: remote.exists(self.filesystem, self.full(path)))

    def size(self, path: str) -> int:
        """Bytes of the file; raises FileNotFoundError."""
        return int(self._info(path)["size"])

    def modified(self, path: str) -> datetime:
        """When the file was last written (aware, UTC); raises FileNotFoundError."""
        moment = modified_time(self._info(path))
        if moment is None:
            raise RootError(f"root: {self.url!r} does not say when files were written, so it cannot be collected")
        return moment

    def read_bytes(self, path: str) -> bytes:
        """The whole file; raises FileNotFoundError."""
        local = self._local(path)
        read = local.read_bytes if local is not None else lambda: remote.read(self.filesystem, self.full(path))
        return _counted(self._persistently(path, read))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, in one request; fewer where the file ends before."""
        if size == 0:
            return b""  # an empty HTTP range is answered with the whole object
        local = self._local(path)
        if local is not None:
            return _counted(self._persistently(path, lambda: local_files.read_range(local, offset, size)))
        return _counted(
            self._persistently(path, lambda: remote.read_range(self.filesystem, self.full(path), offset, size))
        )

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each path with its bytes, None where there is no such file, in the order given.

        `TRITRACK_CONCURRENCY` reads run at once, and no more than twice that many results wait in memory.
        """

        def read(path: str) -> tuple[str, bytes | None]:
            try:
                return path, self.read_bytes(path)
            except FileNotFoundError:
                return path, None

        return in_threads(read, paths)

    def digest(self, path: str) -> tuple[str, int]:
        """SHA-256 (hex) and bytes of a file, read in blocks; raises FileNotFoundError."""
        return _digest(self._blocks(path))

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write or replace a whole file."""
        local = self._local(path)
        if local is not None:
            self._persistently(path, lambda: local_files.write(local, (data,)))
        else:
            self._persistently(path, lambda: remote.write(self.filesystem, self.full(path), data), _FORGOTTEN_UPLOAD)

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Write a file that must not exist yet; False where another writer was first.

        Local disk: a hard link, which fails where the name exists. Object stores: `If-None-Match: *`; a
        store that refuses such a write gets write, then read back, which can lose a race but never mixes
        two writers (one that ignores the condition without a word lets the last racer win). Where the name
        is taken by these very bytes the answer is True: they are our own, written by a request whose answer
        was lost. Two racers with identical bytes may therefore both see True, which harms no manifest;
        where it matters who won, the bytes must hold something of the writer's own.
        """
        local = self._local(path)
        try:
            if local is not None:
                created = self._persistently(path, lambda: local_files.create(local, data))
            else:
                created = self._persistently(path, lambda: remote.create(self.filesystem, self.full(path), data))
        except FileExistsError:
            created = False
        if created:
            return True
        try:
            return self.read_bytes(path) == data
        except FileNotFoundError:
            return False  # it stood, and was removed since

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file into the root, whole or not at all; a large one in parts, some at once.

        Raises FileNotFoundError where there is no such local file.
        """
        source.stat()
        local = self._local(path)
        if local is not None:
            self._persistently(path, lambda: local_files.write(local, local_files.blocks(source)))
        else:
            self._persistently(path, lambda: remote.put(self.filesystem, source, self.full(path)), _FORGOTTEN_UPLOAD)

    def download(self, path: str, target: Path) -> None:
        """Copy a file of the root to local disk, whole or not at all; raises FileNotFoundError."""
        local_files.write(target, self._blocks(path), durable=False)

    def names(self, folder: str) -> list[str]:
        """Sorted names directly below a folder; empty where there is none. Never served from a stale listing."""
        if not self.exists(folder):
            return []  # s3fs would list the folder above it, which may be a whole bucket
        try:
            entries = self._persistently(folder, lambda: self.filesystem.ls(self.full(folder), detail=False))
        except FileNotFoundError:
            return []
        found = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        return sorted(name for name in found if not name.startswith("."))

    def walk(self, folder: str) -> Iterator[Entry]:
        """Every file below a folder, in no order; nothing where there is none. Never served from a stale listing.

        Object stores answer a thousand files a request, and the listing is held in memory (about 1 KB a
        file): walk a stage at a time, and never in a run's hot path.
        """
        if self.is_local:
            try:
                yield from walk_local(self.base, folder)
            except PermissionError as error:
                raise refusal(error, str(error.filename)) from error
            return
        self.filesystem.invalidate_cache(self.full(folder))
        found = self._persistently(folder, lambda: self.filesystem.find(self.full(folder), detail=True))
        prefix = self.base.strip("/") + "/"
        for name, info in found.items():
            path = name.strip("/").removeprefix(prefix)
            if info.get("type") == "directory":
                continue  # nothing was below it at first, and s3fs looked again when the first file just was
            if name.endswith("/") or any(part.startswith(".") for part in path.split("/")):
                continue  # a console's mark of an empty folder, or hidden as on local disk
            yield Entry(path, int(info["size"]), modified_time(info) or self.modified(path))

    def remove(self, path: str) -> None:
        """Delete one file, and on local disk the folders that it leaves empty; quiet where it is gone already."""
        try:
            full = self.full(path)
            if self.is_local:
                self._persistently(path, lambda: local_files.remove(self.base, path))
            else:
                self._persistently(path, lambda: self.filesystem.rm_file(full))
        except FileNotFoundError:
            return

    def remove_many(self, paths: Iterable[str]) -> int:
        """Delete files, `TRITRACK_CONCURRENCY` at once, and return how many were named; missing ones are quiet."""
        return sum(1 for _ in in_threads(self.remove, paths))

    def _persistently(
        self, path: str, operation: Callable[[], Result], also: tuple[type[Exception], ...] = ()
    ) -> Result:
        count(requests=1)
        return persistently(operation, f"{self.url.rstrip('/')}/{path}", also=also)

    def _info(self, path: str) -> dict[str, Any]:
        return self._persistently(path, lambda: remote.info(self.filesystem, self.full(path)))

    def _blocks(self, path: str) -> Iterator[bytes]:
        """A file in order; a remote one in ranges of which some are read at once, each tried again by itself."""
        local = self._local(path)
        if local is not None:
            for block in local_files.blocks(local):
                yield _counted(block)
            return
        first = self.read_range(path, 0, _RANGE_BYTES)
        yield first
        if len(first) == _RANGE_BYTES:
            size = self.size(path)
            yield from in_threads(
                lambda offset: self._whole_range(path, offset, size), range(_RANGE_BYTES, size, _RANGE_BYTES)
            )

    def _whole_range(self, path: str, offset: int, file_size: int) -> bytes:
        expected = min(_RANGE_BYTES, file_size - offset)
        block = self.read_range(path, offset, expected)
        if len(block) != expected:
            raise RootError(f"root: {self.url}/{path} changed while it was read; run again")
        return block


def open_root(url: str, *, create: bool = True) -> Root:
    """Open a storage root; one object a URL and process. A local folder is made, unless `create` is false.

    Raises RootError where the scheme is unknown or its package is missing, a local folder cannot be
    written, a bucket does not exist, or the store refuses the credentials or cannot be reached. Endpoint,
    region, credentials and retries of S3 come from the environment, as in every AWS tool
    (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_MAX_ATTEMPTS`, ...).
    """
    if not create and url and "://" not in url and not os.path.exists(url):
        raise RootError(f"root: {url!r} does not exist; check it, or run something into it first")
    return _open_root(url, os.getpid())


def leads_out(path: str) -> bool:
    """Whether a relative path may name something that does not lie below what it is relative to."""
    return ".." in path and ".." in path.split("/")


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a local file, read in blocks."""
    return _digest(local_files.blocks(path))


@functools.lru_cache(maxsize=32)
def _open_root(url: str, process: int) -> Root:
    return Root(*connect(url), url)


def _counted(data: bytes) -> bytes:
    count(bytes_in=len(data))
    return data


def _digest(blocks: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size
