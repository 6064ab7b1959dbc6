"""`tritrack audit`, and the audit in the plan of evaluate: run once, found the next time, shown in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.accept import accept_stage
from flows.benchmarks import audit_unit
from flows.cli import app
from flows.plan import plan_evaluate, unit_name
from storage.manifests import commit
from storage.root import open_root
from storage.versions import Version, latest_version, unit_keys, update_version
from tasks.presets import RunConfig, sample
from tests.flows.imagined import imagined_run, imagined_sources

Call = Callable[..., Result]
SOURCES = imagined_sources(*range(4))


@pytest.fixture
def call(tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr("flows.cli._console.width", 200)
    settings = [
        *quick,
        "--set",
        "evaluate.audit_videos=1",
        "--set",
        "track.start_every_frames=20",
        "--root",
        str(tmp_path / "root"),
    ]
    return lambda command, *arguments: CliRunner().invoke(app, [command, *settings, *arguments])


def _configured(**evaluate: object) -> RunConfig:
    document = sample().model_dump()
    document["track"] |= {"estimator": "klt"}
    document["evaluate"] |= evaluate
    return RunConfig.model_validate(document)


CONFIG = _configured()


def test_an_audit_runs_once_and_is_found_then(call: Call, tmp_path: Path) -> None:
    first = call("audit")
    assert first.exit_code == 0, first.output
    assert "klt on 1 generated videos" in first.output
    assert "of " in first.output.splitlines()[0]
    assert "windows" in first.output
    second = call("audit")
    assert "found committed" in second.output
    assert second.output.splitlines()[:-1] == first.output.splitlines()[:-1]
    told = json.loads(call("audit", "--json").output)
    assert told["cached"]
    assert told["videos"] == 1
    assert told["found"] <= told["right"] <= told["accepted"] <= told["windows"]
    assert told["found"] <= told["possible"]
    assert open_root(str(tmp_path / "root")).exists(f"audit/{told['key']}/manifest.json")


def test_no_videos_are_refused_in_one_line(call: Call) -> None:
    refused = call("audit", "--set", "evaluate.audit_videos=0")
    assert isinstance(refused.exception, ValueError)
    assert "give --videos" in str(refused.exception)


def test_the_report_stands_on_the_audit_and_without_one_on_none() -> None:
    version, plans = imagined_run(Version("night"), SOURCES, CONFIG)
    units = {unit.item: unit for unit in plans[-1].units}
    audit = audit_unit(CONFIG)
    assert units["tracker audit"].key == audit.key == version.units["audit"].key
    assert list(units)[-2:] == ["tracker audit", "report"]
    assert units["report"].document.inputs["audit"] == audit.key
    assert ("audit", audit.key) in set(unit_keys(version))
    without = plan_evaluate(version, _configured(audit_videos=0))
    assert [unit.item for unit in without.units] == ["report"]
    assert "audit" not in without.units[0].document.inputs
    assert unit_name(audit) == "audit"


def test_another_tracker_is_audited_again() -> None:
    version, _ = imagined_run(Version("night"), SOURCES, CONFIG)
    document = CONFIG.model_dump()
    document["track"] |= {"fb_threshold_px": 0.8}
    again = plan_evaluate(version, RunConfig.model_validate(document))
    assert [unit.item for unit in again.units] == ["tracker audit", "report"]


@pytest.mark.parametrize("stage", ["track", "evaluate"])
def test_an_audit_of_other_code_can_be_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    root = open_root(str(tmp_path / "root"))
    version, plans = imagined_run(Version("night"), SOURCES, CONFIG)
    for unit in (unit for plan in plans for unit in plan.units):
        commit(root, unit.document, {}, counts={"tracks": 5, "pairs": 5})
    version = update_version(root, "night", lambda _: version)
    monkeypatch.setattr("tasks.track.audit_key.fingerprint", lambda *entries: {"tasks.edited": "1" * 16})
    assert "tracker audit" in {unit.item for unit in plan_evaluate(version, CONFIG).units}
    done = accept_stage(root, version, CONFIG, stage)
    assert done.refused == {}
    accepted = latest_version(root, "night")
    assert accepted.units["audit"].key == version.units["audit"].key
    assert not plan_evaluate(accepted, CONFIG).units
