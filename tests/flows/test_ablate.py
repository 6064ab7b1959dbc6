"""The ablate flow: every cell is a run of its own, nothing is made twice, and all stand in one table and page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.ablations import AXES, BASE, cells_of, choose_axes, fields_of
from flows.cli import app
from flows.comparing import shown_rows
from flows.forms import flatten, unflatten
from storage.manifests import require_manifest
from storage.root import open_root
from storage.tables import read_table
from storage.versions import latest_version
from tasks.evaluate.comparison import COMPARISON_SCHEMA
from tasks.presets import RunConfig


def test_every_cell_is_a_run_that_its_axis_alone_tells_from_the_base() -> None:
    fields = flatten(RunConfig())
    cells = list(cells_of(choose_axes(list(AXES))))
    assert cells[0][1] == BASE
    assert len({name for _, name, _ in cells}) == len(cells), "a data set each"
    for _, _, cell in cells:
        config = unflatten(fields_of(cell, fields, seed=2))
        assert config.seed == 2
        assert config.evaluate.audit_videos == 0
        for name, value in cell.changes.items():
            section, _, field = name.partition("_")
            changed = getattr(getattr(config, section), field)
            assert changed == value or cell.label.endswith("a quarter")


def test_what_cannot_run_is_told_before_anything_does(tmp_path: Path) -> None:
    for sources, settings, words in (
        ("", [], "sources: empty"),
        (str(tmp_path), ["train.context_weight=0.5"], "ablate, context: train.context_weight"),
    ):
        command = ["ablate", "objective", "--root", str(tmp_path / "root"), "--sources", sources]
        (tmp_path / "clip.mp4").write_bytes(b"")
        done = CliRunner().invoke(app, [*command, *(part for each in settings for part in ("--set", each))])
        assert isinstance(done.exception, ValueError)
        assert words in str(done.exception)
        assert "\n" not in str(done.exception)
        assert not list((tmp_path / "root").glob("datasets/*"))


def test_an_unknown_axis_is_named_before_anything_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ablate", "tempo", "--root", str(tmp_path / "root")])
    assert isinstance(done.exception, ValueError)
    assert str(done.exception).startswith("axes: 'tempo' is unknown; choose among gap, tracking")
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_a_grid_runs_once_and_shows_what_each_change_costs(
    harness: None, clips: Path, quick: list[str], tmp_path: Path
) -> None:
    root = open_root(str(tmp_path / "root"))
    command = [
        "ablate",
        "negatives",
        "--root",
        root.url,
        "--sources",
        str(clips),
        *quick,
        "--set",
        "shard.held_out_share=0.5",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.exception or done.output
    version = latest_version(root, "default")
    rows = shown_rows(root, version, "ablations")
    assert {row["group"].split(":")[0] for row in rows} == {"negatives"}
    base, *others = (row for row in rows if row["benchmark"] == "retrieval")
    far = "and far away in the same"
    assert [row["entrant"] for row in (base, *others[:3])] == [BASE, "other videos", far, "untrained"]
    assert others[0]["above_base"] == 0, "the same run"
    assert all(row["paired"] for row in others), "all are asked about the held-out tracks of the base"
    assert base["above_base"] is None
    for row in others:
        assert row["above_base"] == pytest.approx(row["value"] - base["value"])
        assert row["above_low"] <= row["above_base"] <= row["above_high"]
    unit = require_manifest(root, "evaluate", version.units["evaluate/ablations"].key)
    table = read_table(root, unit.files["comparison.parquet"])
    assert table.schema == COMPARISON_SCHEMA
    page = root.read_bytes(unit.files["comparison.html"].path).decode()
    assert "Negatives of other videos, or of the same one too?" in page
    assert "http" not in page.replace("http-equiv", "")
    names = {"track": _units(root, "track"), "train": _units(root, "train")}
    again = CliRunner().invoke(app, [*command, "--seeds", "1"])
    assert again.exit_code == 0, again.exception or again.output
    assert names == {"track": _units(root, "track"), "train": _units(root, "train")}, "nothing is made twice"
    assert latest_version(root, "default").units["evaluate/ablations"].key == unit.key
    assert (len(names["track"]), len(names["train"]), len(_units(root, "download"))) == (6, 2, 6)


def _units(root: Any, stage: str) -> set[str]:
    return {entry.path.split("/")[1] for entry in root.walk(stage) if entry.path.endswith("manifest.json")}
