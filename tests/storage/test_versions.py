"""Data set versions: numbered, immutable, and nothing lost between racing writers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from storage.root import Root, RootError, open_root
from storage.versions import (
    SCHEMA,
    Failure,
    ShardEntry,
    SourceEntry,
    Version,
    VideoEntry,
    dataset_names,
    latest_version,
    update_version,
    version_path,
)

PROJECT = Path(__file__).resolve().parents[2]
RACERS = 8


def add_source(name: str) -> Callable[[Version], Version]:
    return lambda version: replace(version, sources={**version.sources, name: SourceEntry(f"http://{name}", "key")})


def test_an_unknown_data_set_is_version_0_and_empty(root: Root) -> None:
    assert latest_version(root, "clips") == Version("clips")
    assert dataset_names(root) == []


def test_a_version_reads_back_whole(root: Root) -> None:
    failure = Failure(
        "download", "permanent", "not_found", "HTTP Error 404: 見つかりません", 2, "2026-01-01T00:00:00+00:00"
    )
    full = Version(
        "clips",
        sources={"s1": SourceEntry("http://a", "k1", video="v1"), "s2": SourceEntry("http://b", "k2", failure=failure)},
        videos={"v1": VideoEntry("k3", 5, ("0f", "f0"), "g", "held_out"), "v2": VideoEntry("k4", failure=failure)},
        shards=(ShardEntry("k5", "train", ("k3", "k4"), 7),),
        units={"train": "k6", "evaluate/retrieval": "k7"},
    )
    stored = update_version(root, "clips", lambda _: full)
    assert stored.number == 1
    assert latest_version(root, "clips") == stored
    assert replace(stored, number=0, created="") == full
    assert dataset_names(root) == ["clips"]


def test_a_change_that_changes_nothing_makes_no_version(root: Root) -> None:
    first = update_version(root, "clips", add_source("a"))
    assert update_version(root, "clips", add_source("a")) == first
    assert root.names("datasets/clips") == ["1.json"]


def test_versions_count_up_past_ten_and_old_ones_stay(root: Root) -> None:
    for number in range(1, 12):
        assert update_version(root, "clips", add_source(f"s{number}")).number == number
    assert latest_version(root, "clips").number == 11
    assert len(json.loads(root.read_bytes(version_path("clips", 3)))["sources"]) == 3


def test_racing_threads_lose_nothing(root: Root) -> None:
    start = threading.Barrier(RACERS)

    def race(racer: int) -> None:
        start.wait()
        for turn in range(3):
            update_version(root, "clips", add_source(f"{racer}-{turn}"))

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(race, range(RACERS)))
    latest = latest_version(root, "clips")
    assert set(latest.sources) == {f"{racer}-{turn}" for racer in range(RACERS) for turn in range(3)}
    assert latest.number == RACERS * 3


RACE = """
import sys
from dataclasses import replace
from storage.root import open_root
from storage.versions import SourceEntry, update_version
url, racer = sys.argv[1:]
sys.stdin.readline()
for turn in range(3):
    entry = {f"{racer}-{turn}": SourceEntry("http://x", "key")}
    update_version(open_root(url), "clips", lambda version: replace(version, sources={**version.sources, **entry}))
"""


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_racing_processes_lose_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = str(tmp_path / "root") if kind == "local" else request.getfixturevalue("s3_root_url")()
    open_root(url)
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, url, str(racer)], stdin=subprocess.PIPE, cwd=PROJECT)
        for racer in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    latest = latest_version(open_root(url), "clips")
    assert set(latest.sources) == {f"{racer}-{turn}" for racer in range(3) for turn in range(3)}
    assert latest.number == 9


@pytest.mark.parametrize("name", ["", "../up", "Upper", "a/b", ".hidden", "x" * 65, "a b", "a\n"])
def test_a_bad_name_is_refused(root: Root, name: str) -> None:
    with pytest.raises(RootError, match="is no data set name"):
        latest_version(root, name)


def test_a_newer_schema_is_refused(root: Root) -> None:
    root.write_bytes(version_path("clips", 1), json.dumps({"schema": SCHEMA + 1}).encode())
    with pytest.raises(RootError, match="update Tritrack"):
        latest_version(root, "clips")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"schema": 1, "name": 5}', b"\xff"])
def test_a_damaged_version_is_named_in_one_line(root: Root, data: bytes) -> None:
    root.write_bytes(version_path("clips", 1), data)
    with pytest.raises(RootError, match=r"datasets/clips/1\.json is damaged") as caught:
        latest_version(root, "clips")
    assert "\n" not in str(caught.value)
