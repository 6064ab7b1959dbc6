"""Shards: WebDataset tar files written with fixed bytes, and their reader by byte offset."""

from __future__ import annotations

import io
import mmap
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.manifests import StoredFile
from storage.root import Root, RootError, hash_file

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
    """Random access to the members of one shard through a memory map; no parsing of the tar.

    A remote shard is copied to `cache` once, named by its digest and verified.
    """

    def __init__(self, root: Root, file: StoredFile, cache: Path) -> None:
        path = root.local_path(file.path)
        if path is None:
            path = cache / file.sha256
            if not path.exists():
                root.download(file.path, path)
                if hash_file(path)[0] != file.sha256:
                    path.unlink()
                    raise RootError(f"root: {file.path} is damaged (its bytes do not match its digest)")
        with path.open("rb") as handle:
            self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of one member, by the offset and size that the shard's index gives."""
        return self._map[offset : offset + size]

    def close(self) -> None:
        self._map.close()
