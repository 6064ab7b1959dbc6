"""Packing shards and indexing triplets, from track units to files that any tool reads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pandas
import pytest
import webdataset

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit, read_file, read_manifest
from storage.root import Root, RootError, open_root
from storage.shards import ShardReader
from storage.tables import read_table, table_bytes
from tasks.records import TRACK_SCHEMA
from tasks.shard.config import ShardConfig
from tasks.shard.key import shard_document, triplets_document
from tasks.shard.pack import cut_patch, pack_shard
from tasks.shard.triplets import index_triplets, with_negatives
from tasks.train.pairs import load_pairs

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
    frame = pandas.read_parquet(table)
    assert list(frame["sample"]) == [row["sample"] for row in index]
    assert list(frame["positive_offset"]) == [row["positive_offset"] for row in index]
    stock = {one["__key__"]: one for one in webdataset.WebDataset(str(path), shardshuffle=False)}
    assert list(stock) == list(frame["sample"])
    for row in index:
        described = json.loads(stock[row["sample"]]["json"])
        assert described == {name: row[name] for name in described}, "a sample says what its row does"
        assert stock[row["sample"]]["positive.jpg"] == reader.read(row["positive_offset"], row["positive_size"])
    reader.close()


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        root = open_root(str(tmp_path / name))
        manifest = _shard(root, [_track_unit(root, 1, 3)[0]], "train")
        files.append(read_file(root, manifest.files["pairs.tar"]) + read_file(root, manifest.files["index.parquet"]))
    assert files[0] == files[1]


def test_two_processes_give_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("one", "1"), ("two", "2")):
        root = open_root(str(tmp_path / name))
        tracks = [_track_unit(root, number, 3)[0] for number in range(3)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", _PACK, root.url, *tracks]
        project = Path(__file__).resolve().parents[3]
        done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=True)
        digests.append(done.stdout.split())
    assert digests[0] == digests[1]
    here = _shard(open_root(str(tmp_path / "one")), tracks, "train")
    assert digests[0] == [here.files[name].sha256 for name in ("pairs.tar", "index.parquet")]


_PACK = """
import sys
from storage.root import open_root
from tests.tasks.shard.test_shard import _shard
done = _shard(open_root(sys.argv[1]), sys.argv[2:], "train")
print(done.files["pairs.tar"].sha256, done.files["index.parquet"].sha256)
"""


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_merged_shard_is_the_shard_of_all_its_tracks_byte_for_byte(kind: str, tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "parts") if kind == "local" else f"memory://{tmp_path.name}")
    tracks = [_track_unit(root, number, number + 1)[0] for number in range(6)]
    parts = [_shard(root, group, "train") for group in (tracks[:1], tracks[1:3], tracks[3:])]
    document = shard_document(CONFIG, "train", tracks)
    keys = [part.key for part in parts]
    merged = pack_shard(root, tracks, "train", CONFIG, document, parts=keys)
    other = open_root(str(tmp_path / "whole"))
    whole = _shard(other, [_track_unit(other, number, number + 1)[0] for number in range(6)], "train")
    assert merged.key == whole.key
    assert {name: file.sha256 for name, file in merged.files.items()} == {
        name: file.sha256 for name, file in whole.files.items()
    }
    assert merged.counts == whole.counts
    assert merged.facts["parts"] == keys
    for part in parts:
        assert read_file(root, part.files["pairs.tar"]), "what it was made of is left as it is"


def test_a_merge_of_damaged_or_other_shards_is_refused(root: Root) -> None:
    tracks = [_track_unit(root, number, 2)[0] for number in range(2)]
    parts = [_shard(root, [key], "train") for key in tracks]
    document = shard_document(CONFIG, "train", tracks)
    with pytest.raises(RootError, match="do not hold the tracks"):
        pack_shard(root, tracks, "train", CONFIG, document, parts=[part.key for part in reversed(parts)])
    file = parts[1].files["pairs.tar"]
    data = bytearray(root.read_bytes(file.path))
    data[600] ^= 1
    root.write_bytes(file.path, bytes(data))
    with pytest.raises(RootError, match="damaged"):
        pack_shard(root, tracks, "train", CONFIG, document, parts=[part.key for part in parts])
    assert read_manifest(root, "shard", document.key) is None


def test_training_reads_the_same_pairs_whatever_shards_hold_them(root: Root, tmp_path: Path) -> None:
    units = [_track_unit(root, number, number % 3 + 1) for number in range(8)]
    groups = {video: video for _, video in units}
    parts = [_shard(root, [key], "train").key for key, _ in units]
    tracks = [key for key, _ in units]
    merged = pack_shard(root, tracks, "train", CONFIG, shard_document(CONFIG, "train", tracks), parts=parts)
    tables = []
    for shards in (parts, parts[::-1], [merged.key]):
        index = index_triplets(root, shards, groups, 0, triplets_document(0, shards, groups))
        rows = read_table(root, index.files["triplets.parquet"])
        pairs = load_pairs(root, index.key, tmp_path)
        read = [(int(pairs.groups[number]), *pairs.read(number)) for number in range(len(pairs))]
        tables.append((rows.drop(["shard", "row", "negative_shard", "negative_row"]), sorted(read), set(pairs.margins)))
        pairs.close()
    assert len(tables[0][1]) == sum(number % 3 + 1 for number in range(8))
    for rows, read, margins in tables[1:]:
        assert rows == tables[0][0], "names, groups and negatives go by the sample"
        assert read == tables[0][1]
        assert margins == tables[0][2]


@pytest.mark.parametrize("side", [30, 60, 75, 89, 90, 100, 119, 120, 121, 150, 239, 240, 300, 481, 512])
def test_a_patch_of_any_size_is_that_of_the_slow_reference(side: int) -> None:
    """Cut at full size and scaled in one step; a smooth picture, where half a pixel of the patch says little."""
    generator = np.random.default_rng(side)
    coarse = generator.integers(64, 192, (4, 4, 3), dtype=np.uint8)
    jpeg = _jpeg(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    kept = round(side * 1.2 / 1.5)
    start = (side - kept) // 2
    method = cv2.INTER_AREA if kept >= 48 else cv2.INTER_CUBIC
    slow = cv2.resize(image[start : start + kept, start : start + kept], (48, 48), interpolation=method)
    encoded = cv2.imencode(".jpg", slow, [cv2.IMWRITE_JPEG_QUALITY, CONFIG.jpeg_quality])[1]
    slow = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    patch = cv2.imdecode(np.frombuffer(cut_patch(jpeg, 1.5, CONFIG), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(patch.astype(int) - slow).mean() < 2.5


def test_the_patch_is_the_middle_of_the_context() -> None:
    image = np.zeros((90, 90, 3), np.uint8)
    image[9:81, 9:81] = 255  # margin / context = 0.8 of the crop, exactly what is cut
    patch = cv2.imdecode(np.frombuffer(cut_patch(_jpeg(image), 1.5, CONFIG), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert patch.shape == (48, 48)
    assert patch[2:-2, 2:-2].min() > 240


@pytest.mark.parametrize("data", [b"not a picture", b"\xff\xd8\xff\xe0", b"\xff\xd8", b"x"])
def test_a_damaged_crop_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        cut_patch(data, 1.5, CONFIG)


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
