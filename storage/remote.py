"""One attempt at each operation on an object store, or any other file system of fsspec that is no local disk."""

from __future__ import annotations

import errno
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from storage.concurrency import concurrency

MULTIPART_BYTES = 64 << 20
"""A file of more bytes goes up in parts."""

_PART_BYTES = 16 << 20
_MAX_PARTS = 10_000  # of S3; files above 160 GB get bigger parts
_memory_lock = threading.Lock()  # memory:// has no conditional write of its own


def info(filesystem: Any, full: str) -> dict[str, Any]:
    """What the store says of a file now; raises FileNotFoundError."""
    filesystem.invalidate_cache(full.rsplit("/", 1)[0])
    found: dict[str, Any] = filesystem.info(full)
    return found


def exists(filesystem: Any, full: str) -> bool:
    """Whether the store has it now; every error but its absence is raised, where fsspec's own answers False."""
    try:
        info(filesystem, full)
    except FileNotFoundError:
        return False
    return True


def read(filesystem: Any, full: str) -> bytes:
    """A whole file in one request; s3fs would ask for its size first, to cut it up."""
    data: bytes = filesystem.cat_file(full, **_supported(filesystem.cat_file, max_concurrency=1))
    return data


def read_range(filesystem: Any, full: str, offset: int, size: int) -> bytes:
    """`size` bytes, at least 1, from `offset` on; fewer where the file ends before."""
    try:
        data: bytes = filesystem.cat_file(full, start=offset, end=offset + size)
    except OSError as error:
        if error.errno == errno.EINVAL and offset >= info(filesystem, full)["size"]:
            return b""  # S3 has no empty range at the end
        raise
    return data


def write(filesystem: Any, full: str, data: bytes) -> None:
    filesystem.pipe_file(full, data, **_parts(filesystem.pipe_file, len(data)))


def put(filesystem: Any, source: Path, full: str) -> None:
    """Copy a local file up; above MULTIPART_BYTES in parts, `concurrency()` at once."""
    filesystem.put_file(str(source), full, **_parts(filesystem.put_file, source.stat().st_size))


def create(filesystem: Any, full: str, data: bytes) -> bool:
    """Write a file where there is none; raises FileExistsError, or is False, where the name is taken."""
    if isinstance(filesystem, MemoryFileSystem):
        with _memory_lock:
            return _create_unconditionally(filesystem, full, data)
    try:
        filesystem.pipe_file(full, data, mode="create", **_parts(filesystem.pipe_file, len(data)))
    except (NotImplementedError, TypeError):
        return _create_unconditionally(filesystem, full, data)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # HTTP 501
            return _create_unconditionally(filesystem, full, data)
        if error.errno == errno.EINVAL and exists(filesystem, full):
            return False  # HTTP 412 of a store that does not name the condition, as s3fs expects
        raise
    return True


def _create_unconditionally(filesystem: Any, full: str, data: bytes) -> bool:
    if exists(filesystem, full):
        return False
    write(filesystem, full, data)
    return read(filesystem, full) == data


def _parts(function: Callable[..., object], size: int) -> dict[str, int]:
    """How a write of `size` bytes is cut; s3fs sends parts from two chunks on."""
    part = max(_PART_BYTES, -(-size // _MAX_PARTS)) if size > MULTIPART_BYTES else MULTIPART_BYTES
    return _supported(function, chunksize=part, max_concurrency=concurrency())


def _supported(function: Callable[..., object], **options: int) -> dict[str, int]:
    """Those of the options that a file system's function knows by name."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
