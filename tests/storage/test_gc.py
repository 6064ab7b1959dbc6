"""gc: what no version reaches goes, and nothing that anybody may be using, whatever happens at the same moment."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from storage import garbage, leases
from storage.fsck import check
from storage.gc import Collection, collect
from storage.layout import attempts_document_path
from storage.leases import Lease, live_leases
from storage.manifests import SCHEMA, Manifest, accept, commit, manifest_path, read_manifest, video_path
from storage.protection import collecting, live_work
from storage.root import Root, RootError, open_root
from storage.uploads import unfinished_uploads
from storage.versions import UnitEntry, Version, latest_version, update_version, version_path
from tests.storage.small_root import DATASET, SmallRoot, commit_video, document

LOOSE = hashlib.sha256(b"loose").hexdigest()


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_POLL_SECONDS", 0.02)


class _InTwoDays(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=2)


def collect_later(root: Root, **options: Any) -> Collection:
    """A collector two days from now, when everything that is there has outlived its grace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage, "datetime", _InTwoDays)
        return collect(root, **options)


def test_what_versions_reach_is_kept(small: SmallRoot) -> None:
    before = files(small.root)
    for delete in (False, True):
        found = collect_later(small.root, delete=delete)
        assert (found.garbage, found.counts, found.bytes, found.deleted) == ((), {}, {}, delete)
    assert files(small.root) == before
    assert check(small.root).findings == ()


def test_an_empty_root_has_no_garbage(root: Root) -> None:
    assert collect(root, delete=True, grace_seconds=0).garbage == ()


def test_every_kind_of_garbage_is_told_and_then_deleted(small: SmallRoot) -> None:
    root, kept = small.root, files(small.root)
    track = commit(root, document("track", video="gone"), {"tracks.parquet": b"tracks", "more.parquet": b"more"})
    fetched = commit_video(root, "gone", b"a video of a source that nobody wants any more")
    loser = f"track/{small.key('track a')}/tracks-0123456789abcdef.parquet"
    table = "datasets/clips/tables/videos-0123456789abcdef.parquet"
    stale = f"train/{small.key('train')}/attempts/one/checkpoint-000000005-0123456789abcdef.safetensors"
    abandoned = f"train/{'0' * 64}/attempts/one/checkpoint-000000005-0123456789abcdef.safetensors"
    lease, plan = "state/leases/run-0123456789abcdef.json", "state/plans/0123456789abcdef-0.json"
    summary = "state/runs/01234567-89ab-cdef-0123-456789abcdef.json"
    for path in (loser, table, stale, abandoned, lease, plan, summary, video_path(LOOSE)):
        root.write_bytes(path, b"loose")
    expected = {
        ("unit", manifest_path("track", track.key)),
        *(("unit", file.path) for file in track.files.values()),
        ("unit", manifest_path("download", fetched.key)),
        ("video", fetched.files["video.bin"].path),
        ("video", video_path(LOOSE)),
        ("orphan", loser),
        ("table", table),
        ("attempt", stale),
        ("attempt", abandoned),
        ("lease", lease),
        ("lease", plan),
        ("summary", summary),
    }
    everything = files(root)
    told = collect_later(root)
    assert kinds(told) == expected
    assert (told.counts["unit"], told.counts["video"], told.bytes["table"]) == (4, 2, 5)
    assert files(root) == everything
    young = collect(root)
    assert (young.garbage, young.kept_young) == ((), len(expected) - 1)  # a young manifest names one of the videos
    assert kinds(collect(root, grace_seconds=-5)) == expected
    assert kinds(collect_later(root, delete=True)) == expected
    assert files(root) == kept
    assert live_leases(root) == []


def test_all_versions_of_all_data_sets_keep_what_they_name(local: SmallRoot) -> None:
    other = commit(local.root, document("track", video="other"), {"tracks.parquet": b"tracks"})
    update_version(local.root, "other", lambda version: replace(version, units={"track/x": UnitEntry(other.key)}))
    update_version(local.root, "other", lambda version: replace(version, units={}))
    update_version(local.root, DATASET, lambda version: Version(DATASET))
    assert collect_later(local.root, delete=True).garbage == ()


def test_a_young_file_keeps_its_whole_unit_and_the_video_that_it_names(local: SmallRoot) -> None:
    unit = commit_video(local.root, "young", b"old bytes")
    age(local.root, video_path(hashlib.sha256(b"old bytes").hexdigest()))
    track = commit(local.root, document("track", video="young"), {"a.bin": b"a", "b.bin": b"b"})
    age(local.root, track.files["a.bin"].path)
    age(local.root, manifest_path("track", track.key))
    found = collect(local.root, delete=True)
    assert (found.garbage, found.kept_young) == ((), 4)
    assert check(local.root).broken == ()
    age(local.root, track.files["b.bin"].path)
    age(local.root, manifest_path("download", unit.key))
    assert collect(local.root, delete=True).counts == {"unit": 4, "video": 1}


def test_an_accepted_unit_keeps_the_unit_whose_files_it_names(local: SmallRoot) -> None:
    """Also where versions name the alias alone, and it was accepted for another alias."""
    standing = commit(local.root, document("evaluate", train="old"), {"scores.parquet": b"scores"})
    first = accept(local.root, document("evaluate", code="2", train="old"), standing, ["code: module"])
    second = accept(local.root, document("evaluate", code="3", train="old"), first, ["code: module"])
    update_version(local.root, "other", lambda version: replace(version, units={"evaluate/x": UnitEntry(second.key)}))
    assert collect_later(local.root, delete=True).garbage == ()
    assert read_manifest(local.root, "evaluate", standing.key) == standing
    assert check(local.root).broken == ()


def test_temporaries_of_killed_writers_go_when_nobody_writes(local: SmallRoot) -> None:
    paths = [
        f"track/{'0' * 64}/.tracks-0.parquet.0123abcd",
        "videos/ab/.x.0123abcd",
        "state/leases/.run-1.json.0123abcd",
    ]
    for path in paths:
        local.root.write_bytes(path, b"half")
    assert collect(local.root).garbage == ()
    with Lease(local.root, "run"):
        assert collect_later(local.root).garbage == ()
    assert kinds(collect_later(local.root, delete=True)) == {("temporary", path) for path in paths}
    assert not any(local.root.exists(path) for path in paths)


def test_parts_of_an_upload_that_never_ended_are_given_up(s3_root: Root) -> None:
    bucket, _, prefix = s3_root.full("videos/ab/abcd").partition("/")
    begin = {"Bucket": bucket, "Key": prefix}
    upload = s3_root.filesystem.call_s3("create_multipart_upload", **begin)["UploadId"]
    s3_root.filesystem.call_s3("upload_part", **begin, UploadId=upload, PartNumber=1, Body=b"part " * 100)
    other = s3_root.filesystem.call_s3("create_multipart_upload", Bucket=bucket, Key=f"{s3_root.full('')}-other/x")
    with Lease(s3_root, "run"):
        assert collect_later(s3_root).garbage == ()
    (found,) = collect_later(s3_root, delete=True).garbage
    assert (found.kind, found.path, found.size) == ("upload", "videos/ab/abcd", 500)
    assert list(unfinished_uploads(s3_root)) == []
    left = s3_root.filesystem.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", [])
    assert other["UploadId"] in {one["UploadId"] for one in left}


def test_a_live_run_keeps_its_plan_and_every_video_and_table(small: SmallRoot) -> None:
    planned = commit(small.root, document("track", video="planned"), {"tracks.parquet": b"tracks"})
    unplanned = commit(small.root, document("track", video="unplanned"), {"tracks.parquet": b"tracks"})
    half = f"track/{document('track', video='half').key}/tracks-0123456789abcdef.parquet"
    for path in (half, video_path(LOOSE), "datasets/clips/tables/videos-0123456789abcdef.parquet"):
        small.root.write_bytes(path, b"loose")
    with Lease(small.root, "run") as lease:
        lease.protect([planned.key, document("track", video="half").key])
        found = collect_later(small.root, delete=True)
        assert {item.path.split("/")[1] for item in found.garbage} == {unplanned.key}
        assert found.live == (f"run: {lease.record.holder}",)
    assert collect_later(small.root, delete=True).counts == {"table": 1, "unit": 3, "video": 1}


def test_attempts_that_a_run_may_go_on_from_are_kept(local: SmallRoot) -> None:
    """While the newest version still has the index that they train on; and while they are live, in any case."""
    root, now = local.root, local.key("triplets")
    waiting, moved_on = document("train", code="2", triplets=now), document("train", triplets="f" * 64)
    checkpoints = {}
    for one in (waiting, moved_on):
        checkpoints[one.key] = f"train/{one.key}/attempts/x/checkpoint-000000005-0123456789abcdef.safetensors"
        root.write_bytes(checkpoints[one.key], b"state")
        root.write_bytes(attempts_document_path("train", one.key), json.dumps(one.to_json()).encode())
    with Lease(root, "train", {"key": moved_on.key, "attempt": "x"}):
        assert collect_later(root, delete=True).garbage == ()
    found = kinds(collect_later(root, delete=True))
    assert found == {("attempt", checkpoints[moved_on.key]), ("attempt", attempts_document_path("train", moved_on.key))}
    update_version(root, DATASET, lambda version: replace(version, units={"triplets": UnitEntry("e" * 64)}))
    assert collect_later(root, delete=True).counts == {"attempt": 2}
    assert list(root.walk(f"train/{waiting.key}")) == []


def test_a_version_that_cannot_be_read_stops_it(local: SmallRoot) -> None:
    commit(local.root, document("track", video="gone"), {"tracks.parquet": b"tracks"})
    before = files(local.root)
    for path in (version_path(DATASET, 2), latest_version(local.root, DATASET).tables["videos"].path):
        data = local.root.read_bytes(path)
        local.root.write_bytes(path, data[:-9])
        for delete in (False, True):
            with pytest.raises(RootError, match="cannot be read, so what it names is not known; run: tritrack fsck"):
                collect_later(local.root, delete=delete)
        local.root.write_bytes(path, data)
    assert files(local.root) == before
    local.root.remove(version_path(DATASET, 2))  # names nothing any more
    assert collect_later(local.root, delete=True).counts == {"unit": 2}


def test_a_manifest_of_a_newer_schema_keeps_its_unit_and_all_videos(local: SmallRoot) -> None:
    unit = commit_video(local.root, "newer", b"a video of a newer Tritrack")
    path = manifest_path("download", unit.key)
    record = json.loads(local.root.read_bytes(path)) | {"schema": SCHEMA + 1}
    local.root.write_bytes(path, json.dumps(record).encode())
    assert collect_later(local.root, delete=True).garbage == ()


def test_a_damaged_manifest_that_nothing_reaches_goes(local: SmallRoot) -> None:
    path = manifest_path("track", "0" * 64)
    local.root.write_bytes(path, b"{")
    assert kinds(collect_later(local.root, delete=True)) == {("unit", path)}


def test_foreign_files_are_left_alone(local: SmallRoot) -> None:
    paths = ["track/notes.txt", "notes/readme.md", "datasets/clips/notes.txt", "state/purged/x.json", "videos/ab/note"]
    for path in paths:
        local.root.write_bytes(path, b"mine")
    assert collect_later(local.root, delete=True).garbage == ()


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("survived", [2, 6])
def test_killed_in_the_middle_it_leaves_no_broken_unit(
    local: SmallRoot, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that go at once the first hangs, and the others end before it is killed."""
    for number in range(4):
        commit(local.root, document("track", video=f"gone {number}"), {"tracks.parquet": b"tracks"})
    removed: list[str] = []

    def dying(path: str) -> None:
        if not path.startswith("state/"):
            if len(removed) == survived:
                raise Killed
            removed.append(path)
            time.sleep(0.2 if len(removed) == 1 else 0.0)
        remove(path)

    remove = local.root.remove
    with monkeypatch.context() as patch:
        patch.setattr(local.root, "remove", dying)
        with pytest.raises(Killed):
            collect_later(local.root, delete=True)
    assert check(local.root).broken == ()
    assert all(path.endswith("manifest.json") for path in removed[:4])
    collect_later(local.root, delete=True)
    assert check(local.root).findings == ()


def test_it_stops_when_its_own_lease_is_lost(local: SmallRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = commit(local.root, document("track", video="gone"), {"tracks.parquet": b"tracks"})
    monkeypatch.setattr(Lease, "is_held", False)
    with pytest.raises(RootError, match="it stopped; run it again"):
        collect_later(local.root, delete=True)
    assert read_manifest(local.root, "track", unit.key) == unit


def test_two_collectors_at_once_are_refused(local: SmallRoot) -> None:
    with collecting(local.root, "repair"):
        assert collect(local.root).garbage == ()
        with pytest.raises(RootError, match="gc: repair is under way"):
            collect(local.root, delete=True)


def test_a_run_that_plans_while_it_collects_waits(
    local: SmallRoot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run names a unit that is about to be deleted: it begins afterwards, finds it gone, and makes it again."""
    unit = document("track", video="wanted again")
    commit(local.root, unit, {"tracks.parquet": b"tracks"})
    found: list[Manifest | None] = []

    def run() -> None:
        with Lease(local.root, "run") as lease:
            lease.protect([unit.key])
            found.append(read_manifest(local.root, "track", unit.key))

    runner = threading.Thread(target=run)
    search = garbage.find_garbage

    def search_then_wait(*arguments: Any) -> None:
        search(*arguments)
        runner.start()
        _wait(lambda: "waiting until gc is done" in caplog.text)

    monkeypatch.setattr("storage.gc.find_garbage", search_then_wait)
    with caplog.at_level(logging.INFO):
        assert collect_later(local.root, delete=True).counts == {"unit": 2}
    runner.join(30)
    assert found == [None]


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_runs_and_collectors_at_once_lose_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Runs find or make units and record them, while collectors without grace delete whatever is not protected."""
    root = open_root(str(tmp_path / "root")) if kind == "local" else request.getfixturevalue("s3_root")
    turns, ended = (6 if root.is_local else 2), threading.Event()

    def run(number: int) -> None:
        for turn in range(turns):
            unit = document("track", video=f"{number} {turn}")
            if turn % 2:  # an earlier run ends before it can record this one
                with Lease(root, "run") as lease:
                    lease.protect([unit.key])
                    commit(root, unit, {"tracks.parquet": b"tracks"})
            with Lease(root, "run") as lease:
                lease.protect([unit.key])
                standing = read_manifest(root, "track", unit.key)
                if standing is None:
                    standing = commit(root, unit, {"tracks.parquet": b"tracks"})
                name = f"track/{number}-{turn}"
                add = lambda version: replace(version, units={**version.units, name: UnitEntry(standing.key)})  # noqa: B023, E731
                update_version(root, DATASET, add)

    def sweep() -> None:
        while not ended.is_set():
            collect(root, delete=True, grace_seconds=-5)

    runners = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    sweeper = threading.Thread(target=sweep)
    for thread in [*runners, sweeper]:
        thread.start()
    for runner in runners:
        runner.join(60)
    ended.set()
    sweeper.join(60)
    assert len(latest_version(root, DATASET).units) == 3 * turns
    assert check(root).broken == ()


def test_leases_of_the_living_are_kept(local: SmallRoot) -> None:
    with Lease(local.root, "run") as lease:
        lease.protect(["0" * 64])
        assert collect_later(local.root, delete=True).garbage == ()
        assert live_work(local.root).keys == {"0" * 64}


def kinds(found: Collection) -> set[tuple[str, str]]:
    return {(item.kind, item.path) for item in found.garbage}


def files(root: Root) -> set[str]:
    return {entry.path for folder in root.names("") for entry in root.walk(folder)}


def age(root: Root, path: str) -> None:
    """Make a file two days old."""
    then = time.time() - 2 * 86_400
    os.utime(root.full(path), (then, then))


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
