"""The ledger on every kind of root: rows come back whole, and fsck, gc and purge know it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from storage.findings import Report
from storage.fsck import check
from storage.gc import collect
from storage.keys import KeyDocument, Recipe
from storage.ledger import LEDGER_SCHEMA, UNIT_SCHEMA, StageRun, ledger_files, read_ledger, write_ledger
from storage.manifests import StoredFile, commit, video_path
from storage.purge import purge
from storage.repair import repair
from storage.root import Root, open_root
from storage.versions import SourceEntry, Version, VideoEntry, update_version
from tests.storage.small_root import SmallRoot

MORNING = datetime(2026, 11, 29, 3, 0, 0, 5, tzinfo=UTC)
RUN = StageRun("track", "clips", "flow-1", "parent-1", "here", 2, MORNING, 12.5, "")


def _units(*rows: dict[str, Any]) -> pa.Table:
    unit = {"stage": "track", "key": "k", "item": "v", "outcome": "committed", "counts": [("tracks", 5)]}
    return pa.Table.from_pylist([unit | row for row in rows], UNIT_SCHEMA)


def _items(root: Root) -> list[str]:
    return [item for _, table in read_ledger(root, ledger_files(root)) for item in table["item"].to_pylist()]


def test_rows_come_back_whole_in_the_order_of_the_runs(root: Root) -> None:
    assert ledger_files(root) == []
    later = replace(RUN, started=MORNING + timedelta(days=1), ended="StageFailed")
    write_ledger(root, later, _units({"item": "b", "outcome": "failed"}))
    path = write_ledger(root, RUN, _units({"item": "a", "seconds": 0.5, "peak_bytes": 7}, {"item": "c"}))
    assert path.startswith("state/ledger/20261129T030000000005Z-track-")
    (first, table), (second, other) = read_ledger(root, ledger_files(root))
    assert (first.path, first.started, first.flow) == (path, MORNING, "track")
    assert table.schema == LEDGER_SCHEMA
    row = table.to_pylist()[0]
    assert (row["ledger"], row["flow_run"], row["run_seconds"]) == (first.id, "flow-1", 12.5)
    assert (row["item"], row["seconds"], row["peak_bytes"], row["counts"]) == ("a", 0.5, 7, [("tracks", 5)])
    assert (second.started, other.to_pylist()[0]["ended"]) == (later.started, "StageFailed")


def test_duckdb_reads_all_runs_at_once(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    write_ledger(root, RUN, _units({"seconds": 1.0}, {"seconds": 3.0}))
    write_ledger(root, replace(RUN, flow="shard"), _units({"seconds": 5.0}))
    query = f"select sum(seconds), sum(counts['tracks']) from '{tmp_path}/state/ledger/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(9.0, 15)]


def test_two_runs_of_one_moment_do_not_meet(root: Root) -> None:
    paths = {write_ledger(root, RUN, _units({})) for _ in range(3)}
    assert len(paths) == len(ledger_files(root)) == 3


def _flip(root: Root, path: str) -> None:
    data = bytearray(root.read_bytes(path))
    data[20] ^= 1
    root.write_bytes(path, bytes(data))


def test_a_damaged_file_is_left_out_named_and_removed(small: SmallRoot, caplog: pytest.LogCaptureFixture) -> None:
    root = small.root
    kept, damaged = write_ledger(root, RUN, _units({"item": "a"})), write_ledger(root, RUN, _units({"item": "b"}))
    assert _kinds(check(root)) == []
    _flip(root, damaged)
    with caplog.at_level(logging.WARNING):
        assert _items(root) == ["a"]
    assert "its bytes do not match its name" in caplog.text
    assert _kinds(check(root, quick=True)) == []
    report = check(root)
    assert _kinds(report) == [("damaged_ledger", damaged)]
    assert [(action.kind, action.path) for action in repair(root, report)] == [("removed_file", damaged)]
    assert check(root).broken == ()
    assert root.exists(kept)


def test_a_file_of_a_newer_tritrack_is_left_out(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = LEDGER_SCHEMA.with_metadata({b"tritrack_ledger": b"9"})
    with monkeypatch.context() as patch:
        patch.setattr("storage.ledger.LEDGER_SCHEMA", newer)
        write_ledger(root, RUN, _units({"item": "new"}))
    write_ledger(root, RUN, _units({"item": "old"}))
    assert _items(root) == ["old"]


def test_gc_keeps_the_ledger(small: SmallRoot) -> None:
    path = write_ledger(small.root, RUN, _units({}))
    assert collect(small.root, delete=True, grace_seconds=-5).garbage == ()
    assert small.root.exists(path)


def _kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in report.findings]


GONE, URL = "a1" * 32, "https://a.example/1.mp4"


@pytest.fixture
def purged(root: Root) -> tuple[Root, Sequence[str]]:
    """A root with one video of one source, and the keys of its download and track units."""
    root.write_bytes(video_path(GONE), GONE.encode())
    document = KeyDocument(Recipe("download", 1), {"source": "s1", "location": URL})
    download = commit(root, document, {"video.bin": StoredFile(video_path(GONE), 64, GONE)}).key
    track = commit(root, KeyDocument(Recipe("track", 1), {"video": GONE}), {"output.bin": b"tracks"}).key
    source = SourceEntry(URL, download, video=GONE, origins=("list.txt",))
    version = Version("clips", sources={"s1": source}, videos={GONE: VideoEntry(track, tracks=3)})
    update_version(root, "clips", lambda _: version)
    return root, (download, track)


def test_a_purged_video_leaves_no_name_and_keeps_its_cost(purged: tuple[Root, Sequence[str]]) -> None:
    root, (download, track) = purged
    other = {"stage": "download", "key": "other", "item": "https://b.example/2.mp4"}
    write_ledger(
        root, replace(RUN, flow="download"), _units({"stage": "download", "key": download, "item": URL}, other)
    )
    write_ledger(root, RUN, _units({"key": track, "item": GONE, "seconds": 2.0}))
    # Before a setting changed it had another key, and failed.
    write_ledger(root, replace(RUN, flow="download"), _units({"stage": "download", "key": "before", "item": URL}))
    purge(root, GONE)
    assert sorted(_items(root)) == ["", "", "", "https://b.example/2.mp4"]
    seconds = [one for _, table in read_ledger(root, ledger_files(root)) for one in table["seconds"].to_pylist()]
    assert 2.0 in seconds
    for entry in root.walk("state/ledger"):
        assert URL.encode() not in root.read_bytes(entry.path)
    assert len(ledger_files(root)) == len(root.names("state/ledger")) == 3
    assert not check(root).broken


def test_an_interrupted_purge_is_read_once_and_finished(
    purged: tuple[Root, Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, (_, track) = purged
    write_ledger(root, RUN, _units({"key": track, "item": GONE}))

    def killed(self: Root, path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Root, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            purge(root, GONE)
    assert len(ledger_files(root)) == 1, "both files are one run"
    for lease in root.names("state/leases"):
        root.remove(f"state/leases/{lease}")
    purge(root, GONE)
    assert _items(root) == [""]
    assert len(root.names("state/ledger")) == 1
