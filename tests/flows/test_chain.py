"""The iterative recipe: train on tracks, fine-tune on the boxes of VOC, train on tracks again; each run cached."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.plan import StageFailed
from storage.manifests import Manifest, require_manifest
from storage.root import Root, open_root
from storage.versions import latest_version
from tasks.world.config import WorldConfig
from tasks.world.voc import write_voc

Call = Callable[..., Result]


@pytest.fixture
def call(harness: None, tmp_path: Path, quick: list[str]) -> Call:
    """A stage's command on one root, which ends well, or as is told."""

    def run(command: str, *settings: str, ends: type[Exception] | None = None) -> Result:
        options = [part for setting in settings for part in ("--set", setting)]
        done = CliRunner().invoke(app, [command, "--root", str(tmp_path / "root"), *quick, *options])
        ended = None if done.exit_code == 0 else type(done.exception)
        assert ended is ends, done.exception or done.output
        return done

    return run


@pytest.mark.slow
def test_three_runs_make_the_recipe_and_each_is_found_again(call: Call, clips: Path, tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"))
    CliRunner().invoke(app, ["download", "--root", root.url, "--sources", str(clips)])
    on_tracks = ["train.negatives=far_away"]
    for stage in ("track", "shard"):
        call(stage)
    call("train", *on_tracks)
    tracks = _trained(root)
    images = _cut_voc(tmp_path)
    on_images = ["train.objective=supervised", f"train.images={images}", f"train.init_from={tracks.key[:12]}"]
    call("train", *on_images)
    tuned = _trained(root)
    assert tuned.document["inputs"].keys() == {"images"}  # type: ignore[union-attr]
    assert tuned.recipe.parameters["init_from"] == tracks.key
    assert tuned.facts["classes"] == ["sphere", "torus"]
    assert "evaluate │ 0      │ 2" in call("status", *on_images).output, "it is measured on the tracks, as any network"
    call("train", *on_tracks, f"train.init_from={tuned.key[:12]}")
    again = _trained(root)
    assert again.recipe.parameters["init_from"] == tuned.key
    assert again.document["inputs"] == tracks.document["inputs"]
    assert len({tracks.key, tuned.key, again.key}) == 3

    moved = shutil.copytree(images, tmp_path / "moved")
    for settings, unit in (
        (on_tracks, tracks),
        (on_images, tuned),
        ([*on_images, f"train.images={moved}"], tuned),
        ([*on_tracks, f"train.init_from={tuned.key[:12]}"], again),
    ):
        assert "│ train │ 0         │ 1 " in call("train", *settings).output
        assert _trained(root) == unit
    spoilt = next((moved / "torus").iterdir())
    spoilt.write_bytes(spoilt.read_bytes()[:700])  # its header stays
    on_images.append(f"train.images={moved}")
    assert "train    │ 0      │ 1 " in call("status", *on_images).output
    told = str(call("train", *on_images, ends=StageFailed).exception)
    assert told.startswith(f"train: damaged_image: train.images: {str(spoilt)!r} is no whole image")
    assert "\n" not in told


def _cut_voc(folder: Path) -> Path:
    """The boxes of generated scenes, a folder a class."""
    world = WorldConfig(width=160, height=120, num_frames=48, num_objects=3, classes=("sphere", "torus"))
    write_voc(folder / "VOC", world, 5, (6, 4, 1))
    arguments = ["voc-folder", str(folder / "VOC"), str(folder / "images"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["classes"].keys() == {"torus", "sphere"}
    return folder / "images"


def _trained(root: Root) -> Manifest:
    """The newest trained unit of the data set."""
    return require_manifest(root, "train", latest_version(root, "default").units["train"].key)
