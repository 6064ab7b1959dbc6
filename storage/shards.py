"""Shards: WebDataset tar files written with fixed bytes, and their reader by byte offset."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.manifests import StoredFile, damaged, missing
from storage.root import Root
from storage.shard_cache import HeldShard, hold_shard

_TAR_BLOCK = 512
_END = bytes(2 * _TAR_BLOCK)  # marks the end of an archive
_RECORD_BYTES = 20 * _TAR_BLOCK  # archives are filled up to whole records
_NAME_BYTES = 100
_SIZE_FIELD = slice(124, 135)  # of a header, in octal digits
_FILE = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)  # the end of a regular file's header
_CHECKSUM = sum(_FILE) + 8 * ord(" ")  # the checksum's own field counts as blanks
_COPY_BYTES = 1 << 20


class ShardWriter:
    """Write samples into one tar file (USTAR); equal samples give equal bytes (no times, owners or modes).

    Members are named `<sample>.<member>` as WebDataset expects, a sample's members side by side. `offset` is the
    number of bytes written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=_COPY_BYTES)
        self.offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            self._write(_END)
            self._write(bytes(-self.offset % _RECORD_BYTES))

    def add(self, sample: str, members: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
        """Append a sample; returns (byte offset, size) of each member's data in the tar file.

        Raises ValueError for a name that WebDataset would split, or that is too long for a header.
        """
        if "." in sample or "/" in sample:
            raise ValueError(f"sample {sample!r} holds '.' or '/', which WebDataset reads as a member or folder")
        places, parts, offset = {}, list[bytes](), self.offset
        for member, data in members.items():
            places[member] = (offset + _TAR_BLOCK, len(data))
            parts += (_header(f"{sample}.{member}", len(data)), data, bytes(-len(data) % _TAR_BLOCK))
            offset += _TAR_BLOCK + _padded(len(data))
        self._write(b"".join(parts))
        return places

    def extend(self, shard: Path) -> None:
        """Append every member of another shard, byte for byte; its first one lies at `offset`.

        Raises ValueError where it is no shard.
        """
        with shard.open("rb") as source:
            end = 0
            while (header := source.read(_TAR_BLOCK)) != bytes(_TAR_BLOCK):
                if not _is_header(header):
                    raise ValueError(f"{shard} is no shard: there is no member at byte {end}")
                end += _TAR_BLOCK + _padded(int(header[_SIZE_FIELD], 8))
                source.seek(end)
            source.seek(0)
            while end:
                block = source.read(min(end, _COPY_BYTES))
                if not block:
                    raise ValueError(f"{shard} is no shard: it ends within a member")
                self._write(block)
                end -= len(block)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.offset += len(data)


def _header(name: str, size: int) -> bytes:
    """A regular file's, byte for byte as `tarfile` writes it, at a fifth of the time."""
    encoded = name.encode()
    if len(encoded) > _NAME_BYTES:
        raise ValueError(f"{name!r} is longer than the {_NAME_BYTES} bytes of a tar member's name")
    if size >= 8**11:
        raise ValueError(f"{name!r} has {size} bytes, more than a tar member can")
    fixed = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"  # mode, owners, size, no time
    checksum = sum(encoded) + sum(fixed) + _CHECKSUM
    return encoded.ljust(_NAME_BYTES, b"\0") + fixed + b"%06o\0 " % checksum + _FILE


def _is_header(block: bytes) -> bool:
    return len(block) == _TAR_BLOCK and block[257:262] == b"ustar"


def _padded(size: int) -> int:
    return size + -size % _TAR_BLOCK


class ShardReader:
    """Random access to the members of one shard, by offset; no parsing of the tar. Any thread may read.

    A remote shard is copied to the folder `cache` (`storage.shard_cache`) and held there until the reader is closed.
    Raises RootError for a shard that is missing or not of the stored size, and for a remote one whose digest differs.
    """

    def __init__(self, root: Root, file: StoredFile, cache: Path, limit_bytes: int | None = None) -> None:
        self._file = file
        self._held: HeldShard | None = None
        path = root.local_path(file.path)
        if path is None:
            self._held = hold_shard(root, file, cache, limit_bytes)
            path = self._held.path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise missing(file.path) from error
        size = os.fstat(self._descriptor).st_size
        if size != file.size:
            self.close()
            raise damaged(file.path, f"it has {size} bytes, not {file.size}")

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of one member, by the offset and size that the shard's index gives.

        Raises RootError where the file ends before.
        """
        data = os.pread(self._descriptor, size, offset)  # lets other threads run while the disk is waited for
        if len(data) != size:
            raise damaged(self._file.path, f"it ends before byte {offset + size}")
        return data

    def will_need(self, offset: int, size: int) -> None:
        """Let the system read these bytes ahead, in one go."""
        if hasattr(os, "posix_fadvise"):  # macOS has none
            os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        os.close(self._descriptor)
        if self._held is not None:
            self._held.release()


class ShardReaders:
    """The readers of many shards, by number; each is opened, and a remote one fetched, when it is first needed."""

    def __init__(self, root: Root, files: Sequence[StoredFile], cache: Path, limit_bytes: int | None) -> None:
        self.files = tuple(files)
        self._root, self._cache, self._limit_bytes = root, cache, limit_bytes
        self._readers: list[ShardReader | None] = [None] * len(files)
        self._locks = [threading.Lock() for _ in files]

    @property
    def num_open(self) -> int:
        """How many shards are open, and those of them that are remote held in the cache."""
        return sum(reader is not None for reader in self._readers)

    def open(self, number: int) -> ShardReader:
        """The reader of a shard; raises as ShardReader does."""
        reader = self._readers[number]
        if reader is None:
            with self._locks[number]:
                reader = self._readers[number]
                if reader is None:
                    reader = ShardReader(self._root, self.files[number], self._cache, self._limit_bytes)
                    self._readers[number] = reader
        return reader

    def release(self, numbers: Iterable[int]) -> None:
        """Close the readers of these shards, which nobody may be reading; they open again when they are needed."""
        for number in numbers:
            with self._locks[number]:
                reader, self._readers[number] = self._readers[number], None
                if reader is not None:
                    reader.close()

    def close(self) -> None:
        self.release(range(len(self.files)))
