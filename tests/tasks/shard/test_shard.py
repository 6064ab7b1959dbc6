"""Packing shards and indexing triplets, from track units to files that any tool reads."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit, read_file
from storage.root import Root, open_root
from storage.shards import ShardReader
from storage.tables import read_table, table_bytes
from tasks.records import TRACK_SCHEMA
from tasks.shard.config import ShardConfig
from tasks.shard.key import shard_document, triplets_document
from tasks.shard.pack import cut_patch, pack_shard
from tasks.shard.triplets import index_triplets, with_negatives

CONFIG = ShardConfig(patch_px=40, margin=1.2)


def _jpeg(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes())


def _track_unit(root: Root, number: int, pairs: int) -> tuple[str, str]:
    """A committed track unit of random crops; returns its key and its video."""
    generator = np.random.default_rng(number)
    video = hashlib.sha256(str(number).encode()).hexdigest()
    rows: list[dict[str, Any]] = [
        {
            "track": f"{video[:16]}-{15 * n:06d}-00",
            "video": video,
            "estimator": "klt",
            "start_frame": 15 * n,
            "end_frame": 15 * n + 30,
            "boxes": [[1.0, 2.0, 48.0, 48.0], [3.0, 4.0, 50.0, 50.0]],
            "anchor_jpeg": _jpeg(generator.integers(0, 255, (72, 72, 3), dtype=np.uint8)),
            "positive_jpeg": _jpeg(generator.integers(0, 255, (75, 75, 3), dtype=np.uint8)),
            "context": 1.5,
        }
        for n in range(pairs)
    ]
    document = KeyDocument(Recipe("track", 1), inputs={"video": video})
    commit(root, document, {"tracks.parquet": table_bytes(rows, TRACK_SCHEMA)}, counts={"tracks": pairs})
    return document.key, video


def _shard(root: Root, tracks: list[str], split: str) -> Manifest:
    return pack_shard(root, tracks, split, CONFIG, shard_document(CONFIG, split, tracks))  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def test_a_shard_is_read_by_offset_by_tar_and_by_duckdb(root: Root, tmp_path: Path) -> None:
    manifest = _shard(root, [_track_unit(root, 1, 3)[0], _track_unit(root, 2, 2)[0]], "train")
    assert manifest.counts["pairs"] == 5
    index = read_table(root, manifest.files["index.parquet"]).to_pylist()
    path = root.local_path(manifest.files["pairs.tar"].path)
    reader = ShardReader(root, manifest.files["pairs.tar"], tmp_path)
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) == 15
        for row in index:
            member = tar.extractfile(f"{row['sample']}.anchor.jpg")
            assert member is not None
            jpeg = reader.read(row["anchor_offset"], row["anchor_size"])
            assert member.read() == jpeg
            assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (48, 48, 3)
    table = root.local_path(manifest.files["index.parquet"].path)
    counted = duckdb.sql(f"select split, count(*), count(distinct video) from '{table}' group by split").fetchall()
    assert counted == [("train", 5, 2)]


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        root = open_root(str(tmp_path / name))
        manifest = _shard(root, [_track_unit(root, 1, 3)[0]], "train")
        files.append(read_file(root, manifest.files["pairs.tar"]) + read_file(root, manifest.files["index.parquet"]))
    assert files[0] == files[1]


def test_the_patch_is_the_middle_of_the_context() -> None:
    image = np.zeros((90, 90, 3), np.uint8)
    image[9:81, 9:81] = 255  # margin / context = 0.8 of the crop, exactly what is cut
    patch = cv2.imdecode(np.frombuffer(cut_patch(_jpeg(image), 1.5, CONFIG), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert patch.shape == (48, 48)
    assert patch[2:-2, 2:-2].min() > 240


def test_a_damaged_crop_is_told() -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        cut_patch(b"not a picture", 1.5, CONFIG)


def test_every_pair_gets_a_negative_of_another_group_in_its_split(root: Root) -> None:
    units = [_track_unit(root, number, 2) for number in range(6)]
    shards = [
        _shard(root, [key for key, _ in units[:4]], "train"),
        _shard(root, [key for key, _ in units[4:]], "held_out"),
    ]
    groups = {video: video for _, video in units}
    groups[units[1][1]] = groups[units[0][1]]  # near-duplicates
    keys = [shard.key for shard in shards]
    manifest = index_triplets(root, keys, groups, 0, triplets_document(0, keys, groups))
    rows = read_table(root, manifest.files["triplets.parquet"]).to_pylist()
    assert len(rows) == 12
    split_of = {row["sample"]: row["split"] for row in rows}
    for row in rows:
        assert groups[row["negative_video"]] != row["group"]
        assert split_of[row["negative_sample"]] == row["split"]


def test_a_split_of_one_group_has_no_negatives() -> None:
    pairs = [
        {"split": "train", "shard": "s", "row": n, "sample": f"p{n}", "video": "v", "group": "g"} for n in range(3)
    ]
    assert {row["negative_row"] for row in with_negatives(pairs, 0)} == {-1}


def test_a_new_video_of_another_split_moves_no_negative() -> None:
    pairs = [
        {"split": "train", "shard": "s", "row": n, "sample": f"p{n}", "video": f"v{n % 4}", "group": f"v{n % 4}"}
        for n in range(40)
    ]
    rows = with_negatives(pairs, 0)
    assert rows == with_negatives(pairs[::-1], 0)
    drawn = {row["negative_sample"] for row in rows}
    assert len(drawn) > 15, "negatives are spread over the split"
