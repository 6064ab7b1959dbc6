"""`tritrack networks` and `tritrack export`: what is printed, what is written, and what is never overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from typer.testing import CliRunner, Result

from flows.cli import app
from storage.root import Root, RootError
from storage.versions import update_version
from tasks.networks import NETWORKS, load_backbone
from tests.flows.trained_root import train_again, trained_root

Export = Callable[..., Result]
IMAGES = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).float() % 256
FILES = ["network.json", "weights.safetensors"]
ONNX = ["backbone.onnx", "embedding.onnx"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return trained_root(tmp_path / "root")[0]


@pytest.fixture
def export(root: Root) -> Export:
    return lambda *arguments: CliRunner().invoke(app, ["export", *map(str, arguments), "--root", root.url])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_networks_are_told_with_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cli._console.width", 120)
    told = CliRunner().invoke(app, ["networks"])
    assert told.exit_code == 0, told.output
    row = next(line for line in told.output.splitlines() if "resnet18" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        *("resnet18", "224", "512", "11,176,512", "328,320", "1,814 M")
    ]
    sizes = json.loads(CliRunner().invoke(app, ["networks", "--json", "--embedding", "16", "--input-px", "96"]).output)
    assert [size["name"] for size in sizes] == list(NETWORKS)
    assert {(size["embedding"], size["input_px"]) for size in sizes} == {(16, 96)}


def test_an_export_is_a_folder_that_two_lines_read(export: Export, root: Root, tmp_path: Path) -> None:
    told = export(tmp_path / "new" / "out")
    assert told.exit_code == 0, told.output
    assert told.output.splitlines() == [
        "small, trained by default version 1 at 32 px, 2064 features, embedding 16",
        *(str(tmp_path / "new" / "out" / name) for name in FILES),
    ]
    assert _names(tmp_path / "new") == ["out"], "nothing beside it"
    assert _names(tmp_path / "new" / "out") == FILES
    network = train_again(root, 3)  # the same one
    with torch.no_grad():
        expected = network.backbone((IMAGES - torch.tensor([107.99, 102.75, 96.64]).view(1, 3, 1, 1)) / 64)
        torch.testing.assert_close(load_backbone(tmp_path / "new" / "out")(IMAGES), expected)
    origin = json.loads((tmp_path / "new" / "out" / "network.json").read_bytes())["origin"]
    assert (origin["dataset"], origin["version"], len(origin["train"])) == ("default", 1, 64)


def test_onnx_comes_checked(export: Export, tmp_path: Path) -> None:
    told = export(tmp_path / "out", "--onnx", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.output)
    assert document["files"] == sorted([*FILES, *ONNX]) == _names(tmp_path / "out")
    assert all(0 <= document["difference"][name] <= 1e-4 for name in ONNX)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "backbone.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": IMAGES.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(features), load_backbone(tmp_path / "out")(IMAGES))
    assert "backbone.onnx   largest difference to torch " in export(tmp_path / "out", "--onnx").output


def test_an_earlier_export_is_replaced_whole(export: Export, root: Root, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(out, "--onnx").exit_code == 0
    (out / "README.md").write_text("mine")
    before = (out / "weights.safetensors").read_bytes()
    train_again(root, 4)
    assert export(out).exit_code == 0
    assert _names(out) == ["README.md", *FILES], "the older network's ONNX is gone, what is not ours stays"
    assert (out / "weights.safetensors").read_bytes() != before
    assert json.loads((out / "network.json").read_bytes())["seed"] == 4


def test_what_is_not_ours_is_never_overwritten(export: Export, tmp_path: Path) -> None:
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "network.json").write_text("{}")
    file.write_text("mine")
    for place, words in (
        (full, "is not empty and holds no earlier export; give a new folder, or empty it"),
        (file, "is a file; give a folder that is new, empty, or holds an export"),
        (file / "below", "cannot be made (File exists)"),
        ("s3://bucket/out", "is a URL; give a local folder"),
    ):
        told = export(place)
        assert isinstance(told.exception, ValueError)
        assert words in str(told.exception)
    assert (_names(full), file.read_text()) == (["network.json"], "mine")
    assert export(empty).exit_code == 0


def test_a_failed_onnx_leaves_the_earlier_export(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert export(out).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("tasks.networks.onnx_files._LARGEST_DIFFERENCE", -1.0)
    assert isinstance(export(out, "--onnx").exception, ValueError)
    monkeypatch.setattr("tasks.networks.onnx_files._NEEDED", ("onnx", "no_such_package"))
    told = export(out, "--onnx").exception
    assert str(told) == "onnx: no_such_package is not installed; pip install 'tritrack[onnx]'"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert _names(tmp_path) == ["out", "root"]


def test_a_data_set_without_a_network_is_named(export: Export, root: Root, tmp_path: Path) -> None:
    told = export(tmp_path / "out", "--dataset", "other").exception
    assert isinstance(told, RootError)
    assert str(told) == f"dataset: 'other' is not in {root.url}; there are: default"
    update_version(root, "default", lambda version: replace(version, units={}))
    told = export(tmp_path / "out").exception
    assert isinstance(told, RootError)
    assert str(told) == f"dataset: 'default' in {root.url} has no trained network yet; run tritrack train"
    shutil.rmtree(root.url)
    assert isinstance(export(tmp_path / "out").exception, RootError)
    assert not (tmp_path / "out").exists()
