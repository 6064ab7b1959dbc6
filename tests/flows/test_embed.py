"""`tritrack embed`: the table as others read it, what is left out, and that nothing half written is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner, Result

from flows.cli import app
from storage.root import Root, RootError
from tasks.networks import load_embedding
from tasks.networks.pictures import read_picture
from tests.flows.trained_root import train_again, trained_root

Embed = Callable[..., Result]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.delenv("TRITRACK_ROOT", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return trained_root(tmp_path / "root")[0]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of five images in three formats, with folders inside."""
    for number, name in enumerate(("a.jpg", "b/c.png", "b/d.webp", "b/e/f.bmp", "z.jpeg")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path), cv2.resize(coarse, (40 + number, 30)))
    return tmp_path / "images"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "features.parquet"


@pytest.fixture
def embed(root: Root, out: Path) -> Embed:
    def call(*arguments: object) -> Result:
        given = [str(argument) for argument in arguments]
        return CliRunner().invoke(app, ["embed", *given, "--root", root.url, "--out", str(out)])

    return call


def _features(path: Path) -> npt.NDArray[np.float32]:
    return np.stack(list(pd.read_parquet(path)["feature"]))


def test_the_table_is_read_by_pandas_and_duckdb(embed: Embed, images: Path, out: Path, root: Root) -> None:
    told = embed(images)
    assert told.exit_code == 0, told.output
    assert told.output == f"{out}: 5 images, backbone of small, 2064 numbers each\n"
    names = ["a.jpg", "b/c.png", "b/d.webp", "b/e/f.bmp", "z.jpeg"]
    table = pd.read_parquet(out)
    assert list(table["path"]) == [str(images / name) for name in names]
    assert list(table["width"]) == [40, 41, 42, 43, 44]
    assert list(table["height"]) == [30] * 5
    network = train_again(root, 3)  # the same one
    for row, path in zip(_features(out), table["path"], strict=True):
        pixels = torch.from_numpy(read_picture(path, 32, 10**6).pixels).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            expected = network.backbone((pixels - torch.tensor([107.99, 102.75, 96.64]).view(1, 3, 1, 1)) / 64)
        np.testing.assert_allclose(row, expected[0].numpy(), rtol=1e-4, atol=1e-5)
    rows = duckdb.sql(
        f"select width, len(feature), array_cosine_similarity(feature::float[2064], feature::float[2064]) from '{out}'"
    )
    assert [(width, length, round(same, 4)) for width, length, same in rows.fetchall()] == [
        (width, 2064, 1.0) for width in (40, 41, 42, 43, 44)
    ]
    schema = pq.read_schema(out)
    assert schema.field("feature").type == pa.list_(pa.float32(), 2064)
    facts = json.loads(schema.metadata[b"tritrack"])
    assert (facts["network"], facts["dataset"], facts["layer"], facts["input_px"]) == (
        "small",
        "default",
        "backbone",
        32,
    )


def test_the_newest_network_is_taken_and_the_bytes_are_the_same_again(
    embed: Embed, images: Path, out: Path, root: Root
) -> None:
    assert embed(images).exit_code == 0
    first = out.read_bytes()
    assert embed(images).exit_code == 0
    assert out.read_bytes() == first
    train_again(root, 9)
    assert embed(images).exit_code == 0
    assert np.abs(_features(out) - _features_of(first, out)).max() > 0.01


def _features_of(data: bytes, out: Path) -> npt.NDArray[np.float32]:
    before = out.with_name("before.parquet")
    before.write_bytes(data)
    return _features(before)


def test_an_exported_folder_stands_for_the_data_set(embed: Embed, images: Path, out: Path, root: Root) -> None:
    exported = out.parent / "exported"
    assert CliRunner().invoke(app, ["export", str(exported), "--root", root.url]).exit_code == 0
    arguments = ["embed", str(images), "--out", str(out), "--network", str(exported), "--layer", "embedding", "--json"]
    told = CliRunner().invoke(app, arguments)  # without a root
    assert told.exit_code == 0, told.output
    assert json.loads(told.output) == {
        "file": str(out),
        "images": 5,
        "width": 16,
        "layer": "embedding",
        "unreadable": [],
    }
    features = _features(out)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-4)
    assert embed(images, "--layer", "embedding").exit_code == 0
    np.testing.assert_array_equal(_features(out), features)
    pixels = torch.from_numpy(read_picture(str(images / "a.jpg"), 32, 10**6).pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        np.testing.assert_allclose(load_embedding(exported)(pixels)[0].numpy(), features[0], rtol=1e-4, atol=1e-5)


def test_unreadable_images_are_named_and_left_out(embed: Embed, images: Path, out: Path) -> None:
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    (images / "new\nline[red].jpg").write_bytes(b"text")
    (images / "cut.jpg").write_bytes((images / "a.jpg").read_bytes()[:-200])
    told = embed(images)
    assert told.exit_code == 0, told.output
    assert told.output.splitlines() == [
        f"unreadable {images}/bad.png: no JPEG, PNG, WebP or BMP image",
        f"unreadable {images}/cut.jpg: does not decode: damaged, or cut short",
        f"unreadable {images}/new\\nline[red].jpg: no JPEG, PNG, WebP or BMP image",
        f"{out}: 5 images, backbone of small, 2064 numbers each; 3 unreadable left out",
    ]
    assert len(pd.read_parquet(out)) == 5
    listed = json.loads(embed(images, "--json").output)
    assert [entry["path"].rsplit("/", 1)[1] for entry in listed["unreadable"]] == [
        *("bad.png", "cut.jpg", "new\\nline[red].jpg")
    ]
    limited = json.loads(embed(images, "--json", "--max-pixels", 41 * 30).output)
    assert limited["images"] == 2
    assert limited["unreadable"][-1]["reason"] == "too large, 44 x 30 px is over 1,230"


def test_many_unreadable_ones_are_counted(embed: Embed, images: Path) -> None:
    for number in range(25):
        (images / f"{number}.png").write_bytes(b"text")
    lines = embed(images).output.splitlines()
    assert sum(line.startswith("unreadable ") for line in lines) == 20
    assert lines[-2] == "... and 5 more; --json lists all"
    assert lines[-1].endswith("25 unreadable left out")


def test_nothing_readable_ends_with_1_and_writes_nothing(embed: Embed, images: Path, out: Path) -> None:
    bad = images / "bad.png"
    bad.write_bytes(b"text")
    told = embed(bad)
    assert told.exit_code == 1
    assert told.output.splitlines()[-1] == "None of 1 images could be read; nothing was written."
    assert list(out.parent.iterdir()) == []
    assert embed(images).exit_code == 0
    before = out.read_bytes()
    told = embed(bad, "--json")
    assert told.exit_code == 1
    assert json.loads(told.output)["file"] is None
    assert out.read_bytes() == before, "an earlier table stays"


def test_an_error_in_between_leaves_the_earlier_table_and_nothing_else(
    embed: Embed, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embed(images).exit_code == 0
    before = out.read_bytes()

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.networks.encoder.Encoder.forward", fail)
    assert embed(images).exit_code != 0
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_bytes() == before


def test_batches_and_row_groups_change_nothing(
    embed: Embed, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "b" / "bad.png").write_bytes(b"text")
    assert embed(images).exit_code == 0
    whole = pd.read_parquet(out)
    monkeypatch.setattr("tasks.networks.features.BATCH_IMAGES", 2)
    monkeypatch.setattr("tasks.networks.features._ROW_GROUP_ROWS", 2)
    assert embed(images).exit_code == 0
    parts = pd.read_parquet(out)
    assert pq.ParquetFile(out).num_row_groups > 2
    pd.testing.assert_frame_equal(parts.drop(columns="feature"), whole.drop(columns="feature"))
    np.testing.assert_allclose(np.stack(list(parts["feature"])), np.stack(list(whole["feature"])), rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_told_before_anything_is_read(
    embed: Embed, images: Path, out: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.embed.embed_files", lambda *arguments, **options: pytest.fail("began"))
    (out.parent / "mine.txt").write_text("not a table")
    for arguments, words in (
        ([images / "gone.jpg"], "gone.jpg' does not exist; give image files or folders of them"),
        ([images, "--out", images], "is a folder; give a file such as"),
        ([images, "--out", out.parent / "no" / "x"], "does not exist; make it first"),
        ([images, "--out", out.parent / "mine.txt"], "exists and is no Parquet file; give another name"),
        ([images, "--network", images], "holds no network.json; name a folder that tritrack export wrote"),
        ([images, "--network", images, "--dataset", "x"], "give an exported folder or --dataset, not both"),
        ([images, "--dataset", "x"], "dataset: 'x' is not in"),
    ):
        told = (
            CliRunner().invoke(app, ["embed", "--root", root.url, "--out", str(out), *map(str, arguments)]).exception
        )  # the later --out counts
        assert isinstance(told, ValueError | RootError)
        assert words in str(told)
        assert len(str(told).splitlines()) == 1
    told = CliRunner().invoke(app, ["embed", str(images), "--out", str(out)]).exception
    assert str(told).startswith("root: missing; give --root")
    assert [path.name for path in out.parent.iterdir()] == ["mine.txt"]
