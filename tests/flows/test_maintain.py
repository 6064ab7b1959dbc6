"""The commands that look after a root, as a user calls them: what they print, what they change, their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from storage.leases import Lease
from storage.manifests import StoredFile, commit, manifest_path, video_path
from storage.root import Root, RootError, open_root
from storage.versions import Version, latest_version, unit_keys, update_version, version_numbers, version_path
from tests.flows.imagined import chosen, imagined_run, imagined_sources, imagined_video

Call = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root with one data set of six videos in two nights; every unit is committed."""
    opened = open_root(str(tmp_path / "root"))
    version = Version("night")
    for numbers in (range(4), range(6)):
        version, plans = imagined_run(version, imagined_sources(*numbers), chosen())
        for unit in (unit for plan in plans for unit in plan.units):
            files: dict[str, Any] = {"output.bin": unit.key.encode()}
            if unit.document.stage == "download":
                number = int(unit.item.rsplit("/", 1)[1].removesuffix(".mp4"))
                stored = StoredFile(video_path(imagined_video(number)), 1, imagined_video(number))
                opened.write_bytes(stored.path, str(number).encode())
                files = {"video.bin": stored}
            commit(opened, unit.document, files, counts={"tracks": 5, "pairs": 5})
        update_version(opened, "night", lambda _, version=version: version, f"{len(numbers)} sources")
    return opened


@pytest.fixture
def call(root: Root, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command on the root, in a wide terminal."""
    monkeypatch.setattr("flows.cli._console.width", 200)
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--root", root.url])


def test_explain_prints_the_reason_and_runs_nothing(root: Root, call: Call) -> None:
    before = sorted(entry.path for entry in root.walk(""))
    told = call("explain", "-d", "night", "--set", "track.fb_threshold_px=0.8")
    assert told.exit_code == 0, told.output
    assert "6 x fb_threshold_px 4.0 → 0.8" in told.output
    assert "expected" in told.output
    assert sorted(entry.path for entry in root.walk("")) == before
    assert "Nothing to do" in call("explain", "-d", "night").output


def test_explain_as_json(call: Call) -> None:
    told = json.loads(call("explain", "-d", "night", "--set", "train.steps=5", "--json").output)
    assert (told["dataset"], told["version"]) == ("night", 2)
    stages = {stage["stage"]: stage for stage in told["stages"]}
    assert stages["train"]["reasons"] == [
        {"text": "steps 1200 → 5", "number": 1, "example": "small, ranking"},
    ]
    assert stages["track"]["cached"] == 6


def test_datasets_and_log_tell_what_a_root_holds(call: Call) -> None:
    told = call("datasets").output
    assert "night" in told
    assert "6 sources, 6 videos" in told
    (row,) = json.loads(call("datasets", "--json").output)
    assert (row["name"], row["number"], row["counts"]["tracks"]) == ("night", 2, 30)
    log = call("log", "night").output
    assert "sources 4 → 6" in log
    assert "sources 0 → 4" in log
    assert log.index("6 sources") < log.index("4 sources"), "the newest first"
    newest = call("log", "night", "-n", "1").output
    assert "sources 4 → 6" in newest
    assert "sources 0 → 4" not in newest
    assert [row["number"] for row in json.loads(call("log", "night", "--json").output)] == [1, 2]


def test_a_data_set_that_is_not_there_is_told_with_those_that_are(call: Call) -> None:
    told = call("log", "day")
    assert isinstance(told.exception, RootError)
    assert "there are: night" in str(told.exception)


def test_accept_tells_what_it_did(call: Call) -> None:
    assert "Nothing to accept" in call("accept", "track", "-d", "night").output
    told = call("accept", "track", "-d", "night", "--set", "track.fb_threshold_px=0.8")
    assert "not accepted 7 track units: fb_threshold_px 4.0 → 0.8" in told.output, "six videos and the audit"
    assert told.exit_code == 1
    assert call("accept", "fly", "-d", "night").exit_code == 2


def test_fsck_finds_and_repairs_and_the_next_run_makes_just_that(root: Root, call: Call) -> None:
    assert call("fsck").exit_code == 0
    version = latest_version(root, "night")
    video = sorted(version.videos)[0]
    root.remove(manifest_path("track", version.videos[video].key))
    broken = call("fsck")
    assert broken.exit_code == 1
    assert version.videos[video].key in broken.output.replace("\n", "")
    assert call("fsck", "--repair").exit_code == 0
    told = json.loads(call("explain", "-d", "night", "--json").output)
    assert [stage["to_run"] for stage in told["stages"]][:2] == [0, 1]
    assert told["stages"][1]["reasons"][0]["text"] == "its tracks were broken or lost"
    report = json.loads(call("fsck", "--quick", "--json").output)
    assert not any("lost" in finding["kind"] for finding in report["findings"])


def test_gc_only_tells_until_it_is_asked_to_delete(root: Root, call: Call) -> None:
    root.write_bytes(f"track/{'0' * 64}/tracks-0123456789abcdef.parquet", b"loser")
    told = call("gc", "--grace-hours", "0")
    assert "Would delete 1 files, 5 bytes" in told.output
    assert root.exists(f"track/{'0' * 64}/tracks-0123456789abcdef.parquet")
    young = call("gc")
    assert "Would delete 0 files" in young.output
    done = json.loads(call("gc", "--grace-hours", "0", "--delete", "--json").output)
    assert (done["deleted"], len(done["garbage"])) == (True, 1)
    assert not root.exists(f"track/{'0' * 64}/tracks-0123456789abcdef.parquet")
    assert call("fsck").exit_code == 0, "and nothing else went"


def test_gc_keeps_as_many_versions_as_asked(root: Root, call: Call) -> None:
    old = latest_version(root, "night")
    update_version(root, "night", lambda version: replace(version, shards=version.shards[1:]), "one shard less")
    gone = manifest_path("shard", old.shards[0].key)
    assert "Would delete 0 files" in call("gc", "--grace-hours", "0").output, "an older version reaches it"
    told = json.loads(call("gc", "--grace-hours", "0", "--keep-versions", "1", "--json").output)
    assert told["counts"]["version"] == 2
    assert gone in {item["path"] for item in told["garbage"]}
    with Lease(root, "run"):
        held = json.loads(call("gc", "--grace-hours", "0", "--keep-versions", "1", "--delete", "--json").output)
        assert held["garbage"] == []
    assert call("gc", "--grace-hours", "0", "--keep-versions", "1", "--delete").exit_code == 0
    assert version_numbers(root, "night") == [3]
    assert not root.exists(gone)
    assert call("fsck").exit_code == 0


def test_purge_asks_first(root: Root, call: Call) -> None:
    video = imagined_video(3)
    refused = CliRunner().invoke(app, ["purge", video, "--root", root.url], input="n\n")
    assert refused.exit_code == 1
    assert root.exists(video_path(video))
    done = call("purge", "https://videos.example/3.mp4", "--yes")
    assert done.exit_code == 0, done.output
    assert not root.exists(video_path(video))
    assert f"Purged {video}" in done.output
    assert video not in latest_version(root, "night").videos
    assert call("fsck").exit_code == 0, "what is gone is told as purged"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("datasets/night/3.json", "update Tritrack"),
        ("datasets/night/2.json", "is damaged"),
    ],
)
def test_a_newer_or_damaged_version_is_one_line_and_changes_nothing(
    root: Root, call: Call, path: str, message: str
) -> None:
    root.write_bytes(path, b'{"schema": 99}' if "3.json" in path else b"{")
    before = {entry.path: entry.size for entry in root.walk("")}
    for command in (
        ["explain", "-d", "night"],
        ["datasets"],
        ["status", "-d", "night"],
        ["accept", "track", "-d", "night"],
    ):
        told = call(*command)
        assert isinstance(told.exception, RootError)
        assert message in str(told.exception)
        assert "\n" not in str(told.exception)
    assert {entry.path: entry.size for entry in root.walk("")} == before


def test_a_root_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for command in ("fsck", "gc", "datasets", "log night", "explain", "status", "purge 0123456789"):
        told = CliRunner().invoke(app, [*command.split(), "--root", str(tmp_path / "typo")])
        assert isinstance(told.exception, RootError), command
        assert "does not exist" in str(told.exception)
    assert list(tmp_path.iterdir()) == []


def test_every_unit_of_the_fixture_has_its_manifest(root: Root) -> None:
    version = latest_version(root, "night")
    assert version_path("night", version.number) == "datasets/night/2.json"
    assert all(root.exists(manifest_path(stage, key)) for stage, key in unit_keys(version))
