"""Training samples for the benches: pairs of textures, as the shard stage would have stored and committed them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MARGIN, JPEG_QUALITY = 1.15, 92  # those of the sample preset
VIDEO_PAIRS = 25


def write_samples(folder: Path, pairs: int, shards: int, stored_px: int) -> None:
    """The same pairs as tars and as a root; `samples.json` says how many, `key` the triplet index."""
    (folder / "samples.json").write_text(json.dumps({"pairs": pairs}))
    (folder / "tars").mkdir()
    written = []
    for shard in range(shards):
        path = folder / "tars" / f"{shard}.tar"
        numbers = range(pairs * shard // shards, pairs * (shard + 1) // shards)
        written.append((path, write_tar(path, numbers, stored_px)))
    (folder / "key").write_text(commit_shards(folder / "root", written))


def write_tar(path: Path, numbers: range, stored_px: int) -> NDArray[np.int64]:
    """A shard as the pack stage writes it; places (n, 4) as its index holds them."""
    from storage.shards import ShardWriter

    rows = []
    with ShardWriter(path) as writer:
        for number in numbers:
            anchor, positive = patches(number, stored_px)
            record = json.dumps({"number": number, "provenance": "x" * 300}).encode()
            places = writer.add(f"{number:07d}", {"anchor.jpg": anchor, "positive.jpg": positive, "json": record})
            rows.append([*places["anchor.jpg"], *places["positive.jpg"]])
    return np.array(rows)


def patches(number: int, stored_px: int) -> tuple[bytes, bytes]:
    """JPEG bytes of a coloured texture with noise, `stored_px` wide, and of itself moved by a few pixels."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (10, 10, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (stored_px + 8, stored_px + 8), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    texture += random.integers(-9, 10, texture.shape, dtype=np.int16)
    pixels = texture.clip(0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    places = (slice(0, stored_px), slice(8, 8 + stored_px))
    first, second = (cv2.imencode(".jpg", pixels[place, place], options)[1].tobytes() for place in places)
    return first, second


def commit_shards(url: Path, shards: list[tuple[Path, NDArray[np.int64]]]) -> str:
    """Commit shards (tar, places) and their triplet index, as the shard stage does; its key."""
    from storage.keys import KeyDocument, Recipe
    from storage.manifests import commit
    from storage.root import open_root
    from tasks.records import PAIR_SCHEMA, TRIPLET_SCHEMA

    root, columns = open_root(str(url)), []
    for number, (tar, places) in enumerate(shards):
        rows = np.arange(len(places), dtype=np.int32)
        videos = np.array([_digest(f"{number}/{video}") for video in range(len(rows) // VIDEO_PAIRS + 1)])
        video = videos[rows // VIDEO_PAIRS]
        sample = np.char.add(np.strings.slice(video, 16), np.char.add("-", rows.astype(str)))
        shared = {"split": ["train"] * len(rows), "video": video, "sample": sample}
        offsets = ("anchor_offset", "anchor_size", "positive_offset", "positive_size")
        index = shared | {"start_frame": rows, "end_frame": rows + 30} | dict(zip(offsets, places.T, strict=True))
        corners = np.random.default_rng(number).uniform(0, 400, (2, len(rows), 2))
        for name, corner in zip(("anchor_box", "positive_box"), corners, strict=True):
            index[name] = list(np.concatenate([corner, np.full((len(rows), 2), 64)], axis=1))
        document = KeyDocument(Recipe("shard", 1, parameters={"margin": MARGIN}), inputs={"number": number})
        commit(root, document, {"pairs.tar": tar, "index.parquet": _parquet(index, PAIR_SCHEMA)})
        keys = np.full(len(rows), document.key)
        columns.append(shared | {"shard": keys, "row": rows, "group": video})
    whole = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    order = np.lexsort((whole["sample"], whole["group"]))  # as the triplet index orders its rows
    whole = {name: column[order] for name, column in whole.items()}
    other = np.random.default_rng(0).permutation(len(order))
    whole |= {f"negative_{name}": whole[name][other] for name in ("shard", "row", "sample", "video")}
    document = KeyDocument(Recipe("shard", 1), inputs={"triplets": len(order)})
    commit(root, document, {"triplets.parquet": _parquet(whole, TRIPLET_SCHEMA)})
    return document.key


def _parquet(columns: dict[str, Any], schema: Any) -> bytes:
    """Columns as `storage.tables.table_bytes` writes rows; columns that are not given are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=schema), sink, compression="zstd", row_group_size=4096)
    return sink.getvalue()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
