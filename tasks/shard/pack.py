"""Pack the pairs of a group of videos into one WebDataset shard and its Parquet index."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from storage.keys import KeyDocument
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.shards import ShardWriter
from storage.tables import read_table, table_bytes
from storage.versions import Split
from tasks.records import PAIR_SCHEMA, Progress, no_progress
from tasks.shard.config import ShardConfig

_log = logging.getLogger(__name__)


def pack_shard(
    root: Root,
    tracks: Sequence[str],
    split: Split,
    config: ShardConfig,
    document: KeyDocument,
    progress: Progress = no_progress,
) -> Manifest:
    """Cut the pairs of the given track units (keys) to size and commit them as one shard.

    Files: `pairs.tar` (`<sample>.anchor.jpg`, `<sample>.positive.jpg`, `<sample>.json`) and `index.parquet`
    (PAIR_SCHEMA, a row a pair in tar order). The crops come from the tracks' own context crops: no video is read.
    """
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tritrack-shard-") as folder:
        path = Path(folder) / "pairs.tar"
        with ShardWriter(path) as writer:
            for done, key in enumerate(tracks):
                table = read_table(root, require_manifest(root, "track", key).files["tracks.parquet"])
                for track in table.to_pylist():
                    rows.append(_add_pair(writer, track, split, config))
                progress(done + 1, len(tracks))
        seconds = time.monotonic() - started
        counts = {"pairs": len(rows), "videos": len(tracks), "bytes": path.stat().st_size}
        manifest = commit(
            root,
            document,
            {"pairs.tar": path, "index.parquet": table_bytes(rows, PAIR_SCHEMA)},
            counts=counts,
            facts={"split": split},
            seconds=seconds,
        )
    _log.info("packed %d pairs of %d videos (%s) in %.1f s", len(rows), len(tracks), split, seconds)
    return manifest


def cut_patch(jpeg: bytes, context: float, config: ShardConfig) -> bytes:
    """The middle of a context crop, `margin` times the box, scaled to `patch_px` times `margin`, as JPEG."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a track's context crop is no JPEG image; its unit is damaged")
    side = min(image.shape[:2])
    kept = max(1, round(side * config.margin / context))
    start = (side - kept) // 2
    target = round(config.patch_px * config.margin)
    middle = image[start : start + kept, start : start + kept]
    shrinks = kept >= target
    patch = cv2.resize(middle, (target, target), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    encoded, data = cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    assert encoded, "cv2 encodes any 8-bit image as JPEG"
    return bytes(data.tobytes())


def _add_pair(writer: ShardWriter, track: dict[str, Any], split: Split, config: ShardConfig) -> dict[str, Any]:
    row = {
        name: track[name] for name in ("video", "estimator", "start_frame", "end_frame", "forward_backward_px", "ncc")
    }
    row |= {
        "sample": track["track"],
        "split": split,
        "anchor_box": track["boxes"][0],
        "positive_box": track["boxes"][-1],
    }
    places = writer.add(
        track["track"],
        {
            "anchor.jpg": cut_patch(track["anchor_jpeg"], track["context"], config),
            "positive.jpg": cut_patch(track["positive_jpeg"], track["context"], config),
            "json": json.dumps(row, sort_keys=True).encode(),
        },
    )
    for member in ("anchor", "positive"):
        row[f"{member}_offset"], row[f"{member}_size"] = places[f"{member}.jpg"]
    return row
