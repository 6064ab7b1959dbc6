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

from storage import versions
from storage.root import Root, RootError, open_root
from storage.versions import (
    SCHEMA,
    Failure,
    ShardEntry,
    SourceEntry,
    UnitEntry,
    Version,
    VideoEntry,
    counts_of,
    dataset_names,
    latest_version,
    read_head,
    read_version,
    unit_keys,
    update_version,
    version_numbers,
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
        "download", "permanent", "too_long", "見つかりません", 2, "2026-01-01T00:00:00+00:00", '{"max_seconds":60.0}'
    )
    broken = VideoEntry("k4", failure=failure)
    full = Version(
        "clips",
        sources={
            "s1": SourceEntry(
                "http://a", "k1", "r0", video="v1", origins=("list.txt",), removed="2026-01-02T00:00:00+00:00"
            ),
            "s2": SourceEntry("http://b", "k2", failure=failure, given='{"licence":"CC BY"}'),
            "s3": SourceEntry("http://c", "", listing="2026-01-02T00:00:00+00:00"),
            "s4": SourceEntry("http://d", "k12"),
        },
        videos={
            "v1": VideoEntry("k3", "r1", 5, "0f" * 8, "g", "held_out", accepted="k9", dropped=True),
            "v2": broken,
        },
        shards=(ShardEntry("k5", "train", ("k3", "k4"), 7, "r2", "k10"), ShardEntry("k8", "held_out", (), 0)),
        units={"train": UnitEntry("k6", "k11"), "evaluate/retrieval": UnitEntry("k7")},
        recipes={"r0": {"stage": "download", "parameters": {"max_height_px": 480}}, "r1": {}, "r2": {}},
    )
    stored = update_version(root, "clips", lambda _: full)
    assert stored.number == 1
    assert latest_version(root, "clips") == stored
    assert replace(stored, number=0, created="") == full
    assert set(stored.tables) == {"sources", "videos", "shards"}
    assert dataset_names(root) == ["clips"]


def test_a_change_that_changes_nothing_makes_no_version(root: Root) -> None:
    first = update_version(root, "clips", add_source("a"))
    assert update_version(root, "clips", add_source("a")) == first
    assert root.names("datasets/clips") == ["1.json", "tables"]


def test_versions_count_up_past_ten_and_old_ones_stay(root: Root) -> None:
    for number in range(1, 12):
        assert update_version(root, "clips", add_source(f"s{number}")).number == number
    assert latest_version(root, "clips").number == 11
    assert len(read_version(root, "clips", 3).sources) == 3
    assert version_numbers(root, "clips") == list(range(1, 12))
    with pytest.raises(FileNotFoundError):
        read_version(root, "clips", 12)


def test_unchanged_tables_are_shared_and_the_head_is_small(root: Root) -> None:
    first = update_version(root, "clips", add_source("a"), note="download: 1 committed")
    units = {"train": UnitEntry("k")}
    second = update_version(root, "clips", lambda version: replace(version, units=units), note="train: 1 committed")
    assert second.tables == first.tables
    head = read_head(root, "clips", 2)
    assert (head.note, head.units, head.counts["sources"]) == ("train: 1 committed", units, 1)
    assert root.size(version_path("clips", 2)) < 4096


def test_the_version_that_the_caller_holds_is_not_read_again(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    first = update_version(root, "clips", add_source("a"))
    with monkeypatch.context() as patched:
        patched.setattr(versions, "read_version", lambda *_: pytest.fail("it read a version"))
        second = update_version(root, "clips", add_source("b"), known=first)
        assert update_version(root, "clips", lambda version: version, known=second) is second
    assert second == latest_version(root, "clips")
    assert set(second.sources) == {"a", "b"}


@pytest.mark.parametrize("held", ["older", "of another writer"])
def test_what_the_caller_holds_counts_only_while_it_is_the_newest(root: Root, held: str) -> None:
    first = update_version(root, "clips", add_source("a"))
    update_version(root, "clips", add_source("b"))
    known = first if held == "older" else replace(first, number=2, sources={"c": SourceEntry("http://c", "key")})
    assert set(update_version(root, "clips", add_source("d"), known=known).sources) == {"a", "b", "d"}


def test_recipes_that_no_entry_names_are_left_out(root: Root) -> None:
    sources = {"s": SourceEntry("http://a", "k", "r1")}
    recipes = {"r1": {"stage": "download"}, "r2": {"stage": "download"}}
    stored = update_version(root, "clips", lambda version: replace(version, sources=sources, recipes=recipes))
    assert stored.recipes == {"r1": {"stage": "download"}}


def test_lists_and_what_was_not_tried_yet_are_counted_apart(root: Root) -> None:
    failure = Failure("download", "transient", "timeout", "words")
    sources = {
        "kept": SourceEntry("http://a", "k", video="v", size=7),
        "kept, failed since": SourceEntry("http://b", "k", video="v", failure=failure, size=7),
        "failed": SourceEntry("http://c", "k", failure=failure),
        "to be fetched again": SourceEntry("http://d", "", video="w", size=5),
        "not tried": SourceEntry("http://e", "k"),
        "not tried, gone": SourceEntry("http://f", "k", removed="now"),
        "list": SourceEntry("http://g", "", listing="then"),
        "list, failed": SourceEntry("http://h", "", listing="then", failure=failure),
        "list, gone": SourceEntry("http://i", "", listing="then", removed="now"),
    }
    version = update_version(root, "clips", lambda standing: replace(standing, sources=sources))
    counts = read_head(root, "clips", 1).counts
    assert counts == counts_of(version)
    expected = {"sources": 5, "lists": 2, "pending": 1, "removed": 2, "failed": 3, "videos": 0, "bytes": 12}
    assert {name: counts[name] for name in expected} == expected
    assert list(unit_keys(version)) == [("download", "k")], "neither a list nor what was not tried has a unit"


def test_every_unit_that_a_version_reaches_is_listed() -> None:
    failure = Failure("track", "poison", "why", "words")
    version = Version(
        "clips",
        sources={
            "s1": SourceEntry("http://a", "d1", video="v1"),
            "s2": SourceEntry("http://b", "d2", video="v2", removed="now"),
            "s3": SourceEntry("http://c", "d3", failure=failure),
            "s4": SourceEntry("http://d", "", video="v4"),
        },
        videos={"v1": VideoEntry("t1", accepted="t2"), "v2": VideoEntry("t3", failure=failure)},
        shards=(ShardEntry("h1", "train", ("t1",), 1, accepted="h2"),),
        units={"triplets": UnitEntry("i1"), "train": UnitEntry("n1", "n2"), "evaluate/report": UnitEntry("e1")},
    )
    reached = {"download": ["d1", "d2"], "track": ["t1", "t2"], "shard": ["h1", "h2", "i1"]}
    reached |= {"train": ["n1", "n2"], "evaluate": ["e1"]}
    assert sorted(unit_keys(version)) == sorted((stage, key) for stage, keys in reached.items() for key in keys)


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


@pytest.mark.parametrize(
    ("schema", "words"), [(SCHEMA + 1, "update Tritrack"), (SCHEMA - 1, "has schema 2, .* begin with an empty root")]
)
def test_another_schema_is_refused(root: Root, schema: int, words: str) -> None:
    root.write_bytes(version_path("clips", 1), json.dumps({"schema": schema}).encode())
    with pytest.raises(RootError, match=words):
        latest_version(root, "clips")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"schema": 3, "name": 5}', b"\xff"])
def test_a_damaged_version_is_named_in_one_line(root: Root, data: bytes) -> None:
    root.write_bytes(version_path("clips", 1), data)
    with pytest.raises(RootError, match=r"datasets/clips/1\.json is damaged") as caught:
        latest_version(root, "clips")
    assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_table_is_named_in_one_line(root: Root) -> None:
    table = update_version(root, "clips", add_source("a")).tables["sources"]
    data = bytearray(root.read_bytes(table.path))
    data[len(data) // 2] ^= 1
    root.write_bytes(table.path, bytes(data))
    with pytest.raises(RootError, match=r"datasets/clips/1\.json is damaged .*sources-.* is damaged") as caught:
        latest_version(root, "clips")
    assert "\n" not in str(caught.value)
    root.remove(table.path)
    with pytest.raises(
        RootError, match=r"datasets/clips/1\.json is damaged \(datasets/clips/tables/sources-\w+\.parquet is missing\)"
    ):
        latest_version(root, "clips")
