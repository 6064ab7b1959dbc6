"""What the README tells of adding an estimator, an objective and a benchmark, done to the letter in a copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.manifests import require_manifest
from storage.root import open_root
from storage.tables import read_table
from storage.versions import latest_version
from tests.flows.conftest import prefect_environment

_PROJECT = Path(__file__).resolve().parents[2]
_SECTION = re.compile(r"### Add your own\n(.*?)(?=\n#{2,3} |\Z)", re.DOTALL)
_FILE = re.compile(r"```python\n# (?P<path>tasks/\S+\.py)\n(?P<code>.*?)```", re.DOTALL)
_ROW = re.compile(r'row in `(?P<registry>[A-Z]+)` of `(?P<path>\S+)`: `(?P<row>"(?P<name>\w+)": "[\w.]+")`')


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of the project with the README's files and rows added, and the added names by registry."""
    folder = tmp_path / "project"
    for package in ("flows", "tasks", "storage"):
        shutil.copytree(_PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    found = _SECTION.search((_PROJECT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    files, rows = list(_FILE.finditer(found[1])), list(_ROW.finditer(found[1]))
    assert len(files) == len(rows) == 3
    for file in files:
        (folder / file["path"]).write_text(file["code"], encoding="utf-8")
    for row in rows:
        registry = folder / row["path"]
        text = registry.read_text(encoding="utf-8")
        assert text.count(f"\n{row['registry']} = {{\n") == 1
        text = text.replace(f"\n{row['registry']} = {{\n", f"\n{row['registry']} = {{\n    {row['row']},\n")
        if row["registry"] == "BENCHMARKS":
            text = text.replace("OF_TRACKS = frozenset({", f'OF_TRACKS = frozenset({{"{row["name"]}", ')
        registry.write_text(text, encoding="utf-8")
    return folder, {row["registry"]: row["name"] for row in rows}


@pytest.mark.slow
def test_one_file_and_one_row_each_are_all_that_it_takes(
    copy: tuple[Path, dict[str, str]], clips: Path, quick: list[str], tmp_path: Path, prefect_home: Path
) -> None:
    folder, names = copy
    assert names.keys() == {"ESTIMATORS", "OBJECTIVES", "BENCHMARKS"}
    settings = {
        "track.estimator": names["ESTIMATORS"],
        "track.min_confidence": 0,  # small clips, and a quick flow: every video must give tracks
        "track.gap_frames": 4,
        "track.start_every_frames": 1,
        "track.windows_per_frame": 16,
        "track.duplicate_frames": 0,
        "track.min_moving_share": 0,
        "track.max_moving_share": 1,
        "train.objective": names["OBJECTIVES"],
        "evaluate.benchmarks": [names["BENCHMARKS"]],
        "evaluate.audit_videos": 0,
    }
    chosen = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    command = [sys.executable, "-m", "flows.cli", "run", "--root", str(tmp_path / "root"), "--sources", str(clips)]
    environment = prefect_environment(prefect_home)
    done = subprocess.run(
        [*command, *quick, *chosen], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    root = open_root(str(tmp_path / "root"))
    units = latest_version(root, "default").units
    assert require_manifest(root, "train", units["train"].key).recipe.parameters["objective"] == names["OBJECTIVES"]
    scores = require_manifest(root, "evaluate", units[f"evaluate/{names['BENCHMARKS']}"].key)
    assert {"trained", "untrained", "hog", "trained - hog"} <= set(
        read_table(root, scores.files["scores.parquet"])["features"].to_pylist()
    )
    told = subprocess.run(
        [*command, "--set", "track.estimator=nothing"], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "choose one of" in told.stderr
    assert names["ESTIMATORS"] in told.stderr
