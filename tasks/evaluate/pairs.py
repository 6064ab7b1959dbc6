"""Pairs of a triplet index: their rows, and their patches read from the shards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from storage.manifests import Manifest, require_manifest
from storage.root import Root
from storage.shards import ShardReader
from storage.tables import read_table
from tasks.evaluate.pictures import Picture, decode_jpeg
from tasks.far_away import Paths, read_paths
from tasks.networks.pictures import squeezed

Member = Literal["anchor", "positive"]


@dataclass(frozen=True)
class Pair:
    """One row of the triplet index; `negative_shard` is empty where no other video could give one."""

    split: str
    shard: str
    row: int
    sample: str
    video: str
    group: str
    negative_shard: str
    negative_row: int
    negative_video: str


def read_pairs(root: Root, triplets: Manifest, split: str = "") -> list[Pair]:
    """The pairs of a triplet unit, in its order; of one split where it is named."""
    columns = list(Pair.__dataclass_fields__)
    rows = read_table(root, triplets.files["triplets.parquet"], columns).to_pylist()
    return [Pair(**row) for row in rows if not split or row["split"] == split]


class PatchReader:
    """Reads patches by shard and row; shards are opened when first needed. Use as a context manager."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._folder = tempfile.TemporaryDirectory(prefix="tritrack-evaluate-")
        self._shards: dict[str, _Shard] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self._shards.values():
            shard.reader.close()
        self._folder.cleanup()

    def jpeg(self, shard: str, row: int, member: Member) -> bytes:
        """The stored crop, margin included, as JPEG. Raises RootError where the shard is missing or damaged."""
        opened = self._open(shard)
        offset, size = opened.places[member][row]
        return opened.reader.read(offset, size)

    def patch(self, shard: str, row: int, member: Member, side_px: int) -> Picture:
        """The patch as training means it, the crop without its margin: (side_px, side_px, 3) uint8 RGB."""
        image = decode_jpeg(self.jpeg(shard, row, member))
        kept = max(1, round(image.shape[0] / self._open(shard).margin))
        start = (image.shape[0] - kept) // 2
        return squeezed(image[start : start + kept, start : start + kept], side_px)

    def paths(self, pairs: Sequence[Pair]) -> Paths:
        """Where the tracks of some pairs ran, in their order."""
        videos = np.unique(np.asarray([pair.video for pair in pairs], np.str_), return_inverse=True)[1]
        rows = [self._open(pair.shard).index.slice(pair.row, 1) for pair in pairs]
        return read_paths([pa.concat_tables(rows)], videos)

    def _open(self, key: str) -> _Shard:
        if key not in self._shards:
            manifest = require_manifest(self._root, "shard", key)
            index = read_table(self._root, manifest.files["index.parquet"])
            places = {
                member: list(
                    zip(index[f"{member}_offset"].to_pylist(), index[f"{member}_size"].to_pylist(), strict=True)
                )
                for member in ("anchor", "positive")
            }
            reader = ShardReader(self._root, manifest.files["pairs.tar"], Path(self._folder.name))
            self._shards[key] = _Shard(reader, index, places, _margin(manifest))
        return self._shards[key]


@dataclass(frozen=True)
class _Shard:
    reader: ShardReader
    index: pa.Table
    places: dict[str, list[tuple[int, int]]]  # (offset, size) by row
    margin: float


def _margin(manifest: Manifest) -> float:
    """How much wider than the patch the stored crops are: a parameter of the shard unit."""
    margin = manifest.recipe.parameters.get("margin", 1.0)
    assert isinstance(margin, int | float), "a shard's margin is a number"
    return float(margin)
