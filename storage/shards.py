"""Shards: WebDataset tar files written with fixed bytes, and their reader by byte offset."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.manifests import StoredFile
from storage.root import Root, RootError
from storage.shard_cache import HeldShard, hold_shard

_TAR_BLOCK = 512


class ShardWriter:
    """Write samples into one tar file; equal samples give equal bytes (no times, owners or modes).

    Members are named `<sample>.<member>` as WebDataset expects, a sample's members side by side.
    """

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (closed in __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()

    def add(self, sample: str, members: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
        """Append a sample; returns (byte offset, size) of each member's data in the tar file."""
        if "." in sample or "/" in sample:
            raise ValueError(f"sample {sample!r} holds '.' or '/', which WebDataset reads as a member or folder")
        places = {}
        for member, data in members.items():
            entry = tarfile.TarInfo(f"{sample}.{member}")
            entry.size, entry.mode = len(data), 0o644
            places[member] = (self._tar.offset + _TAR_BLOCK, len(data))
            self._tar.addfile(entry, io.BytesIO(data))
        return places


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
            raise RootError(f"root: {file.path} is missing; run tritrack fsck --repair, then run again") from error
        size = os.fstat(self._descriptor).st_size
        if size != file.size:
            self.close()
            raise RootError(
                f"root: {file.path} is damaged (it has {size} bytes, not {file.size}); run tritrack fsck --repair, "
                "then run again"
            )

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of one member, by the offset and size that the shard's index gives.

        Raises RootError where the file ends before.
        """
        data = os.pread(self._descriptor, size, offset)  # lets other threads run while the disk is waited for
        if len(data) != size:
            raise RootError(
                f"root: {self._file.path} is damaged (it ends before byte {offset + size}); "
                "run tritrack fsck --repair, then run again"
            )
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
