"""The pairs that a data set version trains on: where their bytes lie, and which videos count as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.manifests import Manifest, require_manifest
from storage.root import Root
from storage.shards import ShardReader
from storage.tables import read_table
from tasks.records import Dropped

_COLUMNS = ("anchor_offset", "anchor_size", "positive_offset", "positive_size")


@dataclass(frozen=True)
class PairTable:
    """The training pairs of a triplet index, in its order.

    `shards` (N,) int64 indexes `readers`; `places` (N, 2, 2) int64 is (byte offset, size) of anchor and
    positive; `groups` (N,) int64 numbers the near-duplicate groups of videos; `margins` (N,) float64 is the
    stored crop's side over the box's.
    """

    readers: tuple[ShardReader, ...]
    shards: NDArray[np.int64]
    places: NDArray[np.int64]
    groups: NDArray[np.int64]
    margins: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.shards)

    def read(self, pair: int) -> tuple[bytes, bytes]:
        """The JPEG bytes of a pair's anchor and positive."""
        reader = self.readers[self.shards[pair]]
        anchor, positive = self.places[pair]
        return reader.read(int(anchor[0]), int(anchor[1])), reader.read(int(positive[0]), int(positive[1]))

    def close(self) -> None:
        for reader in self.readers:
            reader.close()


def load_pairs(root: Root, triplets: str, cache: Path) -> PairTable:
    """The pairs of a triplets unit (by key) whose split is train; remote shards are copied to `cache`.

    Negatives are other images of the batch, as in the authors' code; the index's own seeded negative is
    not read. Raises Dropped where no pair or only one group of videos is there to train on, RootError where a
    unit is missing or damaged.
    """
    manifest = require_manifest(root, "shard", triplets)
    table = read_table(root, manifest.files["triplets.parquet"], ["split", "shard", "row", "group"])
    columns: dict[str, NDArray[Any]] = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    chosen = columns["split"] == "train"
    keys, shards = np.unique(columns["shard"][chosen].astype(str), return_inverse=True)
    _, groups = np.unique(columns["group"][chosen].astype(str), return_inverse=True)
    _require_two_groups(groups)
    rows = columns["row"][chosen].astype(np.int64)
    places = np.empty((len(rows), 2, 2), np.int64)
    margins = np.ones(len(rows))
    readers = []
    for number, key in enumerate(keys):
        shard = require_manifest(root, "shard", str(key))
        index = read_table(root, shard.files["index.parquet"], list(_COLUMNS))
        values = np.stack([index[name].to_numpy() for name in _COLUMNS], axis=1).reshape(-1, 2, 2)
        inside = shards == number
        places[inside] = values[rows[inside]]
        margins[inside] = _margin(shard)
        readers.append(ShardReader(root, shard.files["pairs.tar"], cache))
    return PairTable(tuple(readers), shards.astype(np.int64), places, groups.astype(np.int64), margins)


def _require_two_groups(groups: NDArray[Any]) -> None:
    if len(groups) == 0:
        raise Dropped("permanent", "no_pairs", "the training split holds no pair; add videos or loosen the track gates")
    if len(np.unique(groups)) < 2:
        raise Dropped(
            "permanent",
            "one_video",
            "all training pairs come from one video (near-duplicates count as one); "
            "negatives need a second video: add one, or lower shard.held_out_share",
        )


def _margin(shard: Manifest) -> float:
    margin = shard.recipe.parameters.get("margin", 1.0)
    return float(margin) if isinstance(margin, int | float) else 1.0
