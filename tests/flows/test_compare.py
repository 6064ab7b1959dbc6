"""The compare flow: networks and ensembles on outside data in one table; the second time all is cached."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.comparing import shown_rows
from flows.networks import read_networks
from storage.versions import latest_version
from tasks.networks.exported import exported_files
from tasks.networks.weights import untrained_network
from tests.flows.trained_root import SPEC, train_again, trained_root
from tests.tasks.evaluate.voc_folder import make_voc

QUICK = {
    "evaluate.benchmarks": '["detection"]',
    "evaluate.bootstrap_samples": 100,
    "evaluate.detection_proposals": 30,
    "evaluate.detection_search_px": 64,
    "evaluate.detection_steps": 4,
    "evaluate.detection_classifier": "softmax",
    "evaluate.detection_regions_per_batch": 16,
    "evaluate.detection_images_per_batch": 4,
    "execution.workers": 1,
}


def test_networks_are_data_sets_and_exports_with_labels_of_their_own(tmp_path: Path) -> None:
    root, _ = trained_root(tmp_path / "root")
    folder = _exported(tmp_path / "mine")
    found = read_networks(root, ["default", str(folder), f"two=default,{folder}"])
    assert list(found) == ["default", "mine", "two"]
    odd = _exported(tmp_path / "lr=0.1")
    assert list(read_networks(root, [str(odd)])) == ["lr=0.1"]
    assert found["mine"][0].folder == str(folder)
    assert [each.train for each in found["two"]] == [found["default"][0].train, ""]
    for names, words in (
        (["nothing"], "'nothing' is no data set of this root (there are: default)"),
        (["default", "default"], "'default' is named twice"),
        (["hog=default"], "'hog' is what the table calls features"),
    ):
        with pytest.raises(ValueError, match="networks: ") as caught:
            read_networks(root, names)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_networks_and_their_ensemble_stand_beside_the_first(harness: None, tmp_path: Path) -> None:
    root, _ = trained_root(tmp_path / "root")
    train_again(root, 4)
    voc = make_voc(tmp_path / "VOC2007", 6, 11)
    folder = _exported(tmp_path / "mine")
    settings = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    command = ["compare", "default", f"mine={folder}", "--root", root.url, "--voc", str(voc)]
    done = CliRunner().invoke(app, [*command, *settings])
    assert done.exit_code == 0, done.exception or done.output
    version = latest_version(root, "compared")
    rows = shown_rows(root, version, "comparison")
    assert {row["group"] for row in rows} == {"VOC2007"}
    mine = {row["entrant"]: row for row in rows}
    assert list(mine) == ["default", "mine", "ensemble: default + mine", "untrained", "hog"]
    assert all(row["benchmark"] == "detection" and row["metric"] == "mAP" for row in mine.values())
    assert mine["default"]["above_base"] is None
    assert mine["mine"]["above_base"] == pytest.approx(mine["mine"]["value"] - mine["default"]["value"])
    assert "30 proposals" in mine["ensemble: default + mine"]["subset"]
    nothing = CliRunner().invoke(app, ["compare", "default", "--root", root.url])
    assert isinstance(nothing.exception, ValueError)
    assert "name some (evaluate.voc, evaluate.images" in str(nothing.exception)
    again = CliRunner().invoke(app, [*command, *settings])
    assert again.exit_code == 0, again.exception or again.output
    assert latest_version(root, "compared").units == version.units


def _exported(folder: Path) -> Path:
    folder.mkdir()
    for name, data in exported_files(untrained_network(SPEC), SPEC, {"dataset": "elsewhere"}).items():
        (folder / name).write_bytes(data)
    return folder.absolute()
