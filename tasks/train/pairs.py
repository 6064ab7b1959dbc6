"""The pairs that a data set version trains on: where their bytes lie, and which videos count as one."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.concurrency import in_threads
from storage.keys import JSON
from storage.manifests import Manifest, read_file, require_manifest
from storage.root import Root, RootError
from storage.shards import ShardReaders
from storage.tables import read_table
from tasks.far_away import BOX_COLUMNS, FRAME_COLUMNS, Paths, far_away, read_paths
from tasks.records import Dropped
from tasks.train.augment import decode_patch
from tasks.train.config import TrainConfig
from tasks.train.job import Job
from tasks.train.order import Layout, cut_layout
from tasks.train.randomness import ERRORS, uniforms

_PLACES = ("anchor_offset", "anchor_size", "positive_offset", "positive_size")
# Pairs in a run where negatives come from the same video too. In a batch of 64, of 64 shards of 64 videos of 100 pairs,
# 3, 34, 65 and 88 % of the pairs find one there at runs of 1, 2, 4 and 8, and 59, 31, 16 and 8 videos are in it.
_RUN_PAIRS = 4
_COUPLED = 1000


@dataclass(frozen=True)
class PairTable:
    """The training pairs of a triplet index, shard by shard (in order of their keys) and there by row.

    `shards` (N,) int64 indexes `readers` and `margins`, `rows` (N,) int64 the shard's index; `places` (N, 2, 2) int64
    is (byte offset, size) of anchor and positive; `groups` (N,) int64 numbers the near-duplicate groups of videos;
    `margins` (S,) float64 is the stored crop's side over the box's; `positives` (N,) int64 is the pair whose positive
    patch is shown: its own, but where errors are asked for; `paths` is read for negatives of the same video alone.
    """

    readers: ShardReaders
    shards: NDArray[np.int64]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    groups: NDArray[np.int64]
    margins: NDArray[np.float64]
    positives: NDArray[np.int64]
    layout: Layout
    paths: Paths | None = None

    views = 2

    @property
    def counts(self) -> Mapping[str, int]:
        wrong = int((self.positives != np.arange(len(self))).sum())
        return {"pairs": len(self), **({"wrong_pairs": wrong} if wrong else {})}

    @property
    def facts(self) -> Mapping[str, JSON]:
        return {}

    def __len__(self) -> int:
        return len(self.shards)

    def decode(self, sample: int, draws: NDArray[np.float64], config: TrainConfig, out: NDArray[np.uint8]) -> None:
        """Fill `out` (2, S, S, 3) with anchor and positive, each changed by its draws (2, C).

        Raises RootError for a shard that is missing or damaged, ValueError naming shard and row for a damaged patch.
        """
        margin = float(self.margins[self.shards[sample]])
        for view, jpeg in enumerate(self.read(sample)):
            try:
                out[view] = decode_patch(jpeg, draws[view], config.augment, config.smallest_crop, margin, out.shape[1])
            except (ValueError, cv2.error) as error:  # cv2's own: no bytes at all
                raise ValueError(
                    f"{self.describe(sample)}: the {('anchor', 'positive')[view]} patch is damaged ({len(jpeg)} bytes "
                    "that are no JPEG image); run tritrack fsck --repair, then run again"
                ) from error

    def far_away(self, samples: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """(P, P) bool: which of P pairs of one video show different things; None where negatives are of other ones."""
        return None if self.paths is None else far_away(self.paths.of(samples))

    def read(self, pair: int) -> tuple[bytes, bytes]:
        """The JPEG bytes of a pair's anchor and positive. Raises RootError where the shard is missing or damaged."""
        reader = self.readers.open(int(self.shards[pair]))
        anchor_offset, anchor_size = self.places[pair, 0].tolist()
        positive_offset, positive_size = self.places[self.positives[pair], 1].tolist()
        return reader.read(anchor_offset, anchor_size), reader.read(positive_offset, positive_size)

    def fetch(self, shard: int) -> None:
        """Copy a remote shard here; raises as `read` does."""
        self.readers.open(shard)

    def release(self, shards: Iterable[int]) -> None:
        """Close these shards, which nobody may be reading."""
        self.readers.release(shards)

    def will_need(self, blocks: Iterable[int]) -> None:
        """Let the system read these blocks ahead, each in one go; raises as `read` does."""
        for block in blocks:
            first, last = self.layout.starts[block], self.layout.starts[block + 1] - 1
            begin, end = int(self.places[first, 0, 0]), int(self.places[last, 1].sum())
            self.readers.open(int(self.shards[first])).will_need(begin, end - begin)

    def describe(self, pair: int) -> str:
        """Which shard and row a pair is, for messages."""
        return f"{self.readers.files[self.shards[pair]].path}, row {self.rows[pair]}"

    def close(self) -> None:
        self.readers.close()


def load(root: Root, job: Job) -> PairTable:
    """The pairs of the job's triplet index."""
    config, seed = job.config, job.document.recipe.seed
    return load_pairs(
        root, job.triplets, Path(job.cache), config.cache_bytes, config.negatives, config.wrong_pairs, seed
    )


def load_pairs(
    root: Root,
    triplets: str,
    cache: Path,
    cache_bytes: int | None = None,
    negatives: Literal["other_videos", "far_away"] = "other_videos",
    wrong_pairs: float = 0.0,
    seed: int = 0,
) -> PairTable:
    """The pairs of a triplets unit (by key) whose split is train.

    Remote shards are copied to the folder `cache`, when they are first read, which keeps `cache_bytes`. Negatives are
    other images of the batch, as in the authors' code; the index's own seeded negative is not read. Where they may be
    of the same video too ("far_away"), pairs that lie side by side come in runs. `wrong_pairs`: the share of the
    positives that is taken from elsewhere, drawn by the seed. Raises Dropped where no pair or only
    one group of videos is there to train on, RootError where a unit is missing or damaged.
    """
    manifest = require_manifest(root, "shard", triplets)
    data = read_file(root, manifest.files["triplets.parquet"])
    # As dictionaries: a million rows of strings take ten times as long.
    runs = negatives == "far_away"
    names = ["split", "shard", "group", *(["video"] if runs or wrong_pairs else [])]
    with pq.ParquetFile(io.BytesIO(data), pre_buffer=False, read_dictionary=names) as file:
        table = file.read(columns=[*names, "row"], use_threads=False)
    chosen = _is_train(table["split"])
    keys, shards = _numbered(table["shard"], chosen)
    distinct, groups = _numbered(table["group"], chosen)
    _require_two_groups(len(distinct))
    rows = table["row"].to_numpy()[chosen].astype(np.int64)
    order = np.argsort(shards << 32 | rows, kind="stable")  # rows are int32: far quicker than by two keys
    shards, rows, groups = shards[order], rows[order], groups[order]
    bounds = np.searchsorted(shards, np.arange(len(keys) + 1))
    wanted = [(key, rows[begin:end]) for key, begin, end in zip(keys, bounds[:-1], bounds[1:], strict=True)]
    columns = (*_PLACES, *(FRAME_COLUMNS + BOX_COLUMNS if runs or wrong_pairs else ()))
    found = list(in_threads(functools.partial(_read_index, root, columns), wanted))
    readers = ShardReaders(root, [shard.files["pairs.tar"] for shard, _ in found], cache, cache_bytes)
    places = np.concatenate(
        [np.stack([index[name].to_numpy() for name in _PLACES], axis=1) for _, index in found]
    ).reshape(-1, 2, 2)
    margins = np.array([_margin(shard) for shard, _ in found])
    layout, positives, paths = cut_layout(shards, run_pairs=_RUN_PAIRS if runs else 1), np.arange(len(shards)), None
    if runs or wrong_pairs:
        paths = read_paths([index for _, index in found], _numbered(table["video"], chosen)[1][order])
    if paths and wrong_pairs:
        positives = _strayed(paths, shards, groups, wrong_pairs, seed)
    return PairTable(readers, shards, rows, places, groups, margins, positives, layout, paths if runs else None)


def _strayed(
    paths: Paths, shards: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.int64]:
    """(N,) for each of N pairs the one whose positive it shows; for a share of them another one of its video and shard
    that was far away at the time, so that it shows another thing for sure.

    The errors are those of the data: the same in every epoch. Pairs without such a neighbour stay right, and the others
    are wrong the more often.
    """
    positives = np.arange(len(shards))
    neighbours, partners = np.zeros(len(shards), np.int64), positives.copy()
    order = np.lexsort((groups, shards))
    changes = (np.diff(groups[order]) != 0) | (np.diff(shards[order]) != 0)
    of_video = np.split(order, np.flatnonzero(changes) + 1)
    # A part at a time: far_away looks at all couples.
    for rows in (part for each in of_video for part in np.split(each, range(_COUPLED, len(each), _COUPLED))):
        other = far_away(paths.of(rows))
        neighbours[rows] = other.sum(axis=1)
        place = (uniforms(ERRORS, seed, 0, rows) * neighbours[rows]).astype(np.int64)
        partners[rows] = rows[(other.cumsum(axis=1) > place[:, None]).argmax(axis=1)]
    among = neighbours > 0
    wrong = among & (uniforms(ERRORS, seed, 1, positives) < share / max(among.mean(), share))
    positives[wrong] = partners[wrong]
    return positives


def _is_train(column: Any) -> NDArray[np.bool_]:
    names, codes = _codes(column)
    return np.array([name == "train" for name in names], bool)[codes]


def _numbered(column: Any, chosen: NDArray[np.bool_]) -> tuple[list[str], NDArray[np.int64]]:
    """The chosen N of a dictionary column: their distinct values, sorted, and (N,) int64 that index them."""
    names, codes = _codes(column)
    codes = codes[chosen]
    present = sorted(np.unique(codes).tolist(), key=names.__getitem__)
    numbers = np.zeros(len(names), np.int64)
    numbers[present] = np.arange(len(present))
    return [names[code] for code in present], numbers[codes]


def _codes(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    """A dictionary column as its distinct values and int32 that index them."""
    encoded = column.unify_dictionaries().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _read_index(root: Root, columns: Sequence[str], wanted: tuple[str, NDArray[np.int64]]) -> tuple[Manifest, pa.Table]:
    """A shard (by key), and some columns of some rows of its index."""
    key, rows = wanted
    shard = require_manifest(root, "shard", key)
    index = read_table(root, shard.files["index.parquet"], columns)
    if rows[0] < 0 or rows[-1] >= len(index):
        row = rows[0] if rows[0] < 0 else rows[-1]
        raise RootError(
            f"root: {shard.files['index.parquet'].path} has {len(index)} rows, the triplet index names row {row}; "
            "run tritrack fsck --repair, then run again"
        )
    return shard, index.take(rows)


def _require_two_groups(num_groups: int) -> None:
    if num_groups == 0:
        raise Dropped("permanent", "no_pairs", "the training split holds no pair; add videos or loosen the track gates")
    if num_groups == 1:
        raise Dropped(
            "permanent",
            "one_video",
            "all training pairs come from one video (near-duplicates count as one); "
            "negatives need a second video: add one, or lower shard.held_out_share",
        )


def _margin(shard: Manifest) -> float:
    margin = shard.recipe.parameters.get("margin", 1.0)
    return float(margin) if isinstance(margin, int | float) else 1.0
