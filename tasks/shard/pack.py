"""Pack the pairs of a group of videos into one WebDataset shard and its Parquet index."""

from __future__ import annotations

import io
import json
import logging
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, commit, damaged, require_manifest
from storage.root import Root, RootError, hash_file
from storage.shards import ShardWriter
from storage.tables import parquet_bytes, read_table
from storage.versions import Split
from tasks.jpeg import jpeg_size
from tasks.records import PAIR_SCHEMA, Progress, no_progress
from tasks.shard.config import ShardConfig

_TOLD = ("video", "estimator", "start_frame", "end_frame", "forward_backward_px", "ncc")
_READ = (*_TOLD, "track", "boxes", "anchor_jpeg", "positive_jpeg", "context")
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_HEADER_BYTES = 4096  # of a crop, with its frame header: OpenCV writes that within 700 bytes
_log = logging.getLogger(__name__)


def pack_shard(
    root: Root,
    tracks: Sequence[str],
    split: Split,
    config: ShardConfig,
    document: KeyDocument,
    progress: Progress = no_progress,
    parts: Sequence[str] = (),
) -> Manifest:
    """Cut the pairs of the given track units (keys) to size and commit them as one shard.

    Files: `pairs.tar` (`<sample>.anchor.jpg`, `<sample>.positive.jpg`, `<sample>.json`) and `index.parquet`
    (PAIR_SCHEMA, a row a pair in tar order). The crops come from the tracks' own context crops: no video is read.
    One video's tracks are in memory at a time.

    `parts`: shard units (keys) that hold just these tracks, in this order. Their members are copied and not made
    again; the bytes are the same either way, so that the key does not tell. Raises RootError where a part is
    missing, damaged, or holds other tracks.
    """
    started = time.monotonic()
    index: list[pa.Table] = [PAIR_SCHEMA.empty_table()]
    with tempfile.TemporaryDirectory(prefix="tritrack-shard-") as folder:
        path = Path(folder) / "pairs.tar"
        with ShardWriter(path) as writer:
            if parts:
                steps = _copied(root, parts, tracks, writer, Path(folder))
            else:
                steps = _packed(root, tracks, split, config, writer)
            for rows in steps:
                index.append(rows)
                progress(len(index) - 1, len(parts or tracks))
        seconds = time.monotonic() - started
        table = pa.concat_tables(index)
        facts: dict[str, JSON] = {"split": split}
        manifest = commit(
            root,
            document,
            {"pairs.tar": path, "index.parquet": parquet_bytes(table)},
            counts={"pairs": len(table), "videos": len(tracks), "bytes": path.stat().st_size},
            facts=facts | {"parts": list(parts)} if parts else facts,
            seconds=seconds,
        )
    how = f"from {len(parts)} shards " if parts else ""
    _log.info("packed %d pairs of %d videos (%s) %sin %.1f s", len(table), len(tracks), split, how, seconds)
    return manifest


def cut_patch(jpeg: bytes | memoryview, context: float, config: ShardConfig) -> bytes:
    """The middle of a context crop, `margin` times the box, scaled to `patch_px` times `margin`, as JPEG.

    A crop of twice the size or more is decoded at a half, a quarter or an eighth, which JPEG gives for less. The
    middle is right to half a pixel of what is decoded.
    """
    target = round(config.patch_px * config.margin)
    wanted = target * context / config.margin  # the crop's side where the patch needs no scaling
    side = _jpeg_side(bytes(jpeg[:_HEADER_BYTES]))
    reduced = next((factor for factor in (8, 4, 2) if side >= factor * wanted), 1)
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), _REDUCED.get(reduced, cv2.IMREAD_COLOR))
    if image is None:
        raise ValueError("a track's context crop is no JPEG image; its unit is damaged")
    side = min(image.shape[:2])
    kept = max(1, round(side * config.margin / context))
    start = (side - kept) // 2
    patch = _scaled(image[start : start + kept, start : start + kept], target)
    encoded, jpeg_data = cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    assert encoded, "cv2 encodes any 8-bit image as JPEG"
    return jpeg_data.tobytes()


def _scaled(image: np.ndarray, side: int) -> np.ndarray:
    """A square picture (S, S, 3) uint8 as (side, side, 3).

    The filter of large steps is the mean over areas, which takes 60 to 110 microseconds for 74 px. Steps of up to 1.5
    are linear, those of up to 2 go by way of twice the side: on DAVIS within 1.1 grey levels of it, as JPEG itself
    is, in 15 and 40 microseconds.
    """
    method = cv2.INTER_AREA
    if len(image) < side:
        method = cv2.INTER_CUBIC
    elif len(image) <= 1.5 * side:
        method = cv2.INTER_LINEAR
    elif len(image) < 2 * side:
        image = cv2.resize(image, (2 * side, 2 * side), interpolation=cv2.INTER_LINEAR)
    scaled: np.ndarray = cv2.resize(image, (side, side), interpolation=method)
    return scaled


def _jpeg_side(head: bytes) -> int:
    """The shorter side in px that a JPEG's frame header tells, without decoding; 0 where `head` holds none."""
    try:
        return min(jpeg_size(io.BytesIO(head)) or (0, 0))
    except struct.error:
        return 0


def _packed(
    root: Root, tracks: Sequence[str], split: Split, config: ShardConfig, writer: ShardWriter
) -> Iterator[pa.Table]:
    """Append the pairs of each track unit; their rows of the index, a unit at a time."""
    for key in tracks:
        file = require_manifest(root, "track", key).files["tracks.parquet"]
        yield _add_pairs(writer, read_table(root, file, _READ), split, config)


def _add_pairs(writer: ShardWriter, tracks: pa.Table, split: Split, config: ShardConfig) -> pa.Table:
    boxes = tracks["boxes"].combine_chunks()
    told = tracks.select(_TOLD).append_column("sample", tracks["track"])
    told = told.append_column("split", pa.array([split] * len(tracks), pa.string()))
    told = told.append_column("anchor_box", boxes.values.take(boxes.offsets[:-1]))
    told = told.append_column("positive_box", boxes.values.take(pc.subtract(boxes.offsets[1:], 1)))
    places: dict[str, list[int]] = {name: [] for name in PAIR_SCHEMA.names[-4:]}
    crops = zip(tracks["anchor_jpeg"], tracks["positive_jpeg"], tracks["context"].to_pylist(), strict=True)
    for row, (anchor, positive, context) in zip(told.to_pylist(), crops, strict=True):
        members = {
            "anchor.jpg": cut_patch(memoryview(anchor.as_buffer()), context, config),
            "positive.jpg": cut_patch(memoryview(positive.as_buffer()), context, config),
            "json": json.dumps(row, sort_keys=True).encode(),
        }
        written = writer.add(row["sample"], members)
        for member in ("anchor", "positive"):
            offset, size = written[f"{member}.jpg"]
            places[f"{member}_offset"].append(offset)
            places[f"{member}_size"].append(size)
    for name, values in places.items():
        told = told.append_column(name, pa.array(values, pa.int64()))
    return told.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA)


def _copied(
    root: Root, parts: Sequence[str], tracks: Sequence[str], writer: ShardWriter, folder: Path
) -> Iterator[pa.Table]:
    """Append the members of each part; its rows of the index, with places in the new shard."""
    manifests = [require_manifest(root, "shard", key) for key in parts]
    held = [track for manifest in manifests for track in _tracks_of(manifest)]
    if held != list(tracks):
        raise RootError("root: the shards that are to be merged do not hold the tracks that they are named with")
    for manifest in manifests:
        file = manifest.files["pairs.tar"]
        path = root.local_path(file.path)
        if path is None:
            path = folder / "part.tar"
            root.download(file.path, path)
        if hash_file(path) != (file.sha256, file.size):
            raise damaged(file.path)
        start = writer.offset
        writer.extend(path)
        rows = read_table(root, manifest.files["index.parquet"])
        for name in ("anchor_offset", "positive_offset"):
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.add(rows[name], start))
        yield rows.cast(PAIR_SCHEMA)


def _tracks_of(manifest: Manifest) -> list[str]:
    inputs = manifest.document.get("inputs")
    tracks = inputs.get("tracks") if isinstance(inputs, dict) else None
    return list(map(str, tracks)) if isinstance(tracks, list) else []
