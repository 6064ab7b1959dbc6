"""The triplet index of a data set version: every pair with a seeded negative from another video."""

from __future__ import annotations

import hashlib
import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from storage.keys import KeyDocument
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.tables import read_table, table_bytes
from tasks.records import TRIPLET_SCHEMA, Progress, no_progress

_log = logging.getLogger(__name__)


def index_triplets(
    root: Root,
    shards: Sequence[str],
    groups: Mapping[str, str],
    seed: int,
    document: KeyDocument,
    progress: Progress = no_progress,
) -> Manifest:
    """Index the pairs of the given shard units (keys) and commit `triplets.parquet` (TRIPLET_SCHEMA).

    A negative comes from the same split and from another group of near-duplicates. Where a split has one
    group only, its negatives are empty.
    """
    started = time.monotonic()
    pairs: list[dict[str, Any]] = []
    for done, key in enumerate(shards):
        index = read_table(
            root, require_manifest(root, "shard", key).files["index.parquet"], ["sample", "video", "split"]
        )
        for row, pair in enumerate(index.to_pylist()):
            pairs.append({**pair, "shard": key, "row": row, "group": groups[pair["video"]]})
        progress(done + 1, len(shards))
    rows: list[dict[str, Any]] = []
    for split in ("held_out", "train"):
        rows += with_negatives([pair for pair in pairs if pair["split"] == split], seed)
    counts = {
        "triplets": len(rows),
        "train_triplets": sum(row["split"] == "train" for row in rows),
        "groups": len({row["group"] for row in rows}),
    }
    seconds = time.monotonic() - started
    manifest = commit(
        root, document, {"triplets.parquet": table_bytes(rows, TRIPLET_SCHEMA)}, counts=counts, seconds=seconds
    )
    _log.info("indexed %d triplets of %d videos in %.1f s", len(rows), len({row["video"] for row in rows}), seconds)
    return manifest


def with_negatives(pairs: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Pairs of one split in order of (group, sample), each with a negative drawn evenly from the other groups.

    The draw is a hash of (seed, sample): it does not move when other rows come in another order.
    """
    ordered = sorted(pairs, key=lambda pair: (pair["group"], pair["sample"]))
    group_of = [pair["group"] for pair in ordered]
    rows = []
    for pair in ordered:
        first, last = bisect_left(group_of, pair["group"]), bisect_right(group_of, pair["group"])
        others = len(ordered) - (last - first)
        negative: Mapping[str, Any] = {"shard": "", "row": -1, "sample": "", "video": ""}
        if others:
            digest = hashlib.sha256(f"{seed}:{pair['sample']}".encode()).digest()
            place = int.from_bytes(digest[:8], "big") % others
            negative = ordered[place if place < first else place + last - first]
        rows.append({**pair, **{f"negative_{name}": negative[name] for name in ("shard", "row", "sample", "video")}})
    return rows
