"""One storage root: a local folder or any fsspec URL. Everything Tritrack keeps lies below it."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import threading
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

_COPY_BYTES = 1 << 20
_S3_SCHEMES = frozenset({"s3", "s3a"})
_memory_lock = threading.Lock()  # memory:// has no conditional write of its own


class RootError(ValueError):
    """A root that cannot be used; the message is one line with the remedy."""


class Root:
    """Files below one URL, addressed by relative paths with forward slashes.

    A reader never sees half a file: local files appear by link or rename, object stores commit whole
    objects. A root pickles as its URL, so that child processes open their own connection.
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
        """The path as the file system below takes it."""
        return f"{self.base}/{path}" if path else self.base

    def local_path(self, path: str) -> Path | None:
        """The file on this machine's disk, or None where the root is remote."""
        return Path(self.full(path)) if self.is_local else None

    def exists(self, path: str) -> bool:
        if self.is_local:
            return os.path.exists(self.full(path))
        self.filesystem.invalidate_cache(self._parent(path))  # s3fs answers from a stale listing otherwise
        return bool(self.filesystem.exists(self.full(path)))

    def size(self, path: str) -> int:
        """Bytes of the file; raises FileNotFoundError."""
        return int(self.filesystem.size(self.full(path)))

    def open(self, path: str) -> IO[bytes]:
        """A seekable binary reader; raises FileNotFoundError."""
        return cast(IO[bytes], self.filesystem.open(self.full(path), "rb"))

    def read_bytes(self, path: str) -> bytes:
        """The whole file; raises FileNotFoundError."""
        if self.is_local:
            return Path(self.full(path)).read_bytes()
        return cast(bytes, self.filesystem.cat_file(self.full(path)))

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, in one request; fewer where the file ends before."""
        if size == 0:
            return b""  # an empty HTTP range is answered with the whole object
        return cast(bytes, self.filesystem.cat_file(self.full(path), start=offset, end=offset + size))

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write or replace a whole file."""
        if self.is_local:
            temporary = self._write_temporary(path, data)
            os.replace(temporary, self.full(path))
        else:
            self.filesystem.pipe_file(self.full(path), data)

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Write a file that must not exist yet; False where another writer was first.

        Local disk: a hard link, which fails where the name exists. Object stores: `If-None-Match: *`;
        a store that knows no conditional write gets write, then read back, which can lose a race but
        never mixes two writers.
        """
        if self.is_local:
            temporary = self._write_temporary(path, data)
            try:
                os.link(temporary, self.full(path))
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
            return True
        if isinstance(self.filesystem, MemoryFileSystem):
            return self._create_in_memory(path, data)
        try:
            self.filesystem.pipe_file(self.full(path), data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError):
            if self.exists(path):
                return False
            self.filesystem.pipe_file(self.full(path), data)
            return self.read_bytes(path) == data
        return True

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file into the root, whole or not at all, without holding it in memory."""
        if self.is_local:
            target = Path(self.full(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            try:
                with source.open("rb") as reader, temporary.open("wb") as writer:
                    while block := reader.read(_COPY_BYTES):
                        writer.write(block)
                    writer.flush()
                    os.fsync(writer.fileno())
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            self.filesystem.put_file(str(source), self.full(path))

    def download(self, path: str, target: Path) -> None:
        """Copy a file of the root to local disk; raises FileNotFoundError."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            self.filesystem.get_file(self.full(path), str(temporary))
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Sorted names directly below a folder; empty where there is none. Never served from a stale listing."""
        self.filesystem.invalidate_cache(self.full(folder))
        try:
            entries = self.filesystem.ls(self.full(folder), detail=False)
        except FileNotFoundError:
            return []
        found = {entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries}
        return sorted(name for name in found if not name.startswith("."))

    def remove(self, path: str) -> None:
        """Delete one file; nothing happens where it is gone already."""
        try:
            self.filesystem.rm_file(self.full(path))
        except FileNotFoundError:
            return

    def _parent(self, path: str) -> str:
        return self.full(path).rsplit("/", 1)[0]

    def _write_temporary(self, path: str, data: bytes) -> str:
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with temporary.open("wb") as writer:
            writer.write(data)
            writer.flush()
            os.fsync(writer.fileno())
        return str(temporary)

    def _create_in_memory(self, path: str, data: bytes) -> bool:
        with _memory_lock:
            if self.filesystem.exists(self.full(path)):
                return False
            self.filesystem.pipe_file(self.full(path), data)
            return True


def open_root(url: str) -> Root:
    """Open a storage root; one object a URL and process.

    Raises RootError where the scheme is unknown, a local folder cannot be written, or a bucket is missing
    or refuses the credentials. S3 endpoint and credentials come from the environment, as in every AWS tool
    (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...).
    """
    return _open_root(url, os.getpid())


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a local file, read in blocks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as reader:
        while block := reader.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


@functools.lru_cache(maxsize=32)
def _open_root(url: str, process: int) -> Root:
    if not url:
        raise RootError("root: empty; give a folder or a URL such as s3://bucket/prefix")
    scheme = url.split("://", 1)[0] if "://" in url else "file"
    # A kept listing hides what another process wrote since.
    options = {"use_listings_cache": False} if scheme in _S3_SCHEMES else {}
    try:
        filesystem, base = fsspec.core.url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        raise RootError(
            f"root: {url!r} cannot be opened ({error}); give a folder, s3://bucket/prefix or another fsspec URL"
        ) from error
    root = Root(filesystem, str(base), url)
    if root.is_local:
        _require_writable(Path(root.base), url)
    elif scheme in _S3_SCHEMES:
        _require_bucket(root)
    return root


def _require_writable(folder: Path, url: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RootError(
            f"root: {url!r} cannot be made ({error.strerror}); choose a folder that you may write to"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RootError(f"root: {url!r} is not writable; choose a folder that you may write to")


def _require_bucket(root: Root) -> None:
    """Ask for the bucket itself: s3fs's `exists` answers False for every error."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    bucket = root.base.split("/", 1)[0]
    try:
        root.filesystem.call_s3("head_bucket", Bucket=bucket)
    except FileNotFoundError as error:
        raise RootError(
            f"root: bucket {bucket!r} does not exist at the endpoint in use; make it first, or check AWS_ENDPOINT_URL"
        ) from error
    except (PermissionError, NoCredentialsError) as error:
        raise RootError(
            f"root: {root.url!r} refuses the credentials ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (OSError, BotoCoreError, ValueError) as error:
        raise RootError(
            f"root: {root.url!r} cannot be reached ({error}); check AWS_ENDPOINT_URL and the network"
        ) from error
