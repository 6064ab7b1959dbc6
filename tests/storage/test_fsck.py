"""fsck: damage to every kind of file is named as what it is, and what is not damage is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from storage import fsck
from storage.contents import StageContents, read_stage
from storage.findings import Report
from storage.fsck import check
from storage.layout import attempts_document_path, purged_path
from storage.leases import Lease
from storage.manifests import SCHEMA, Manifest, commit, manifest_path, video_path
from storage.repair import Action, repair
from storage.root import Root, StoreUnavailable
from storage.sealing import seal
from storage.versions import UnitEntry, Version, latest_version, update_version, version_path
from tests.storage.small_root import (
    DAMAGES,
    DATASET,
    DIGESTS,
    VIDEOS,
    SmallRoot,
    document,
    drop_videos,
    flip,
    kinds,
    name_of,
    with_dropped,
)

TEST_DIGEST = hashlib.sha256(b"test").hexdigest()


def test_a_sound_root_has_no_findings(small: SmallRoot) -> None:
    for quick in (False, True):
        report = check(small.root, quick=quick)
        assert report.findings == ()
        assert (report.versions, report.units, report.files, report.quick) == (3, len(small.units), 15, quick)
        assert report.bytes > sum(map(len, VIDEOS.values()))


def test_an_empty_root_is_sound(root: Root) -> None:
    assert check(root).findings == ()
    assert repair(root, check(root)) == []


def test_dropped_videos_are_not_missing_and_fetched_ones_are(local: SmallRoot) -> None:
    drop_videos(local.root)
    assert check(local.root).findings == ()
    update_version(local.root, DATASET, lambda version: with_dropped(version, dropped=False))
    assert {finding.kind for finding in check(local.root).findings} == {"missing"}


def test_a_video_that_nothing_names_is_an_orphan_or_damaged(local: SmallRoot) -> None:
    whole, broken = video_path(TEST_DIGEST), video_path("f" * 64)
    local.root.write_bytes(whole, b"test")
    local.root.write_bytes(broken, b"something else")
    assert kinds(_later(local.root)) == {("orphan", whole), ("damaged_video", broken)}
    repair(local.root, check(local.root))
    assert local.root.exists(whole)
    assert not local.root.exists(broken)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"schema": 2}'])
def test_a_damaged_manifest_is_dropped(local: SmallRoot, data: bytes) -> None:
    path = manifest_path("track", local.key("track a"))
    local.root.write_bytes(path, data)
    assert kinds(check(local.root)) == {("damaged_manifest", path)}
    repair(local.root, check(local.root))
    assert not local.root.exists(path)
    assert latest_version(local.root, DATASET).videos[DIGESTS["a"]].key == ""


def test_a_manifest_of_another_unit_or_another_document_is_damaged(local: SmallRoot) -> None:
    path, other = manifest_path("track", local.key("track a")), manifest_path("track", local.key("track b"))
    record = json.loads(local.root.read_bytes(path))
    local.root.write_bytes(path, local.root.read_bytes(other))
    (finding,) = (one for one in check(local.root).findings if one.kind == "damaged_manifest")
    assert f"it is of the track unit {local.key('track b')[:16]}" in finding.words
    record["document"]["recipe"]["schema"] = 7
    del record["digest"]
    local.root.write_bytes(path, seal(record))
    (finding,) = check(local.root).findings
    assert (finding.kind, finding.words) == ("damaged_manifest", "its key document does not give its key")


def test_a_manifest_of_a_newer_schema_is_reported_and_left(local: SmallRoot) -> None:
    path = manifest_path("track", local.key("track a"))
    record = json.loads(local.root.read_bytes(path)) | {"schema": SCHEMA + 1, "unheard_of": 1}
    local.root.write_bytes(path, json.dumps(record).encode())
    assert kinds(check(local.root)) == {("newer_manifest", path)}
    assert repair(local.root, check(local.root)) == [Action("advice", path, "update Tritrack, which reads it then")]
    assert json.loads(local.root.read_bytes(path)) == record
    assert latest_version(local.root, DATASET).number == 3


@pytest.mark.parametrize(
    ("table", "damage"), [("sources", "flipped"), ("videos", "truncated"), ("shards", "missing"), ("videos", "missing")]
)
def test_a_damaged_table_is_named_with_what_to_do(local: SmallRoot, table: str, damage: str) -> None:
    path = latest_version(local.root, DATASET).tables[table].path  # type: ignore[index]
    DAMAGES[damage](local.root, path)
    report = check(local.root)
    kind = "missing_table" if damage == "missing" else "damaged_table"
    assert (kind, path) in kinds(report)
    assert {one.kind for one in report.broken} == {kind}
    before = sorted(entry.path for entry in local.root.walk("datasets"))
    (advice,) = repair(local.root, report)
    assert (advice.kind, advice.path) == ("advice", path)
    assert "restore it, or delete every version that names it to go on from the one before: " in advice.words
    naming = {"sources": (1, 2, 3), "videos": (2, 3), "shards": (3,)}[table]
    assert advice.words.endswith(": " + ", ".join(version_path(DATASET, number) for number in naming))
    assert sorted(entry.path for entry in local.root.walk("datasets")) == before


@pytest.mark.parametrize(("data", "kind"), [(b"{", "damaged_head"), (b'{"schema": 99}', "newer_head")])
def test_a_damaged_head_is_named_and_other_data_sets_are_repaired(local: SmallRoot, data: bytes, kind: str) -> None:
    update_version(local.root, "other", lambda version: replace(version, units=_trained(local)))
    path = version_path(DATASET, 3)
    local.root.write_bytes(path, data)
    flip(local.root, local.path("train"))
    report = check(local.root)
    assert kinds(report) == {(kind, path), ("flipped", local.path("train"))}
    actions = repair(local.root, report)
    assert [action.path for action in actions if action.kind == "new_version"] == [version_path("other", 2)]
    assert any(action.path == f"datasets/{DATASET}" for action in actions if action.kind == "advice")
    assert latest_version(local.root, "other").units == {}


def test_a_gap_between_versions_is_named(local: SmallRoot) -> None:
    local.root.remove(version_path(DATASET, 2))
    assert kinds(check(local.root)) == {("missing_head", version_path(DATASET, 2))}


def test_a_unit_that_a_version_names_and_nobody_holds(local: SmallRoot) -> None:
    path = manifest_path("train", local.key("train"))
    local.root.remove(path)
    report = _later(local.root)
    assert ("lost_unit", path) in kinds(report)
    assert {one.kind for one in report.findings} == {"lost_unit", "orphan"}
    repair(local.root, report)
    assert "train" not in latest_version(local.root, DATASET).units
    again = check(local.root)
    assert again.broken == ()
    assert ("history", path) in kinds(again)


def test_purged_units_are_told_as_purged(local: SmallRoot) -> None:
    """What reduces over a purged video went with it; older versions still name all of it."""
    local.root.write_bytes(purged_path(DIGESTS["a"]), b"{}")
    update_version(local.root, DATASET, lambda version: Version(DATASET))
    local.root.remove(video_path(DIGESTS["a"]))
    for unit in ("download a", "track a", "shard train", "triplets", "scores"):
        for path in (manifest_path(*name_of(local, unit)[0]), *(f.path for f in local.units[unit].files.values())):
            local.root.remove(path)
    report = check(local.root)
    assert {one.kind for one in report.findings} == {"purged"}
    assert len(report.findings) == 5
    assert report.broken == ()


def test_orphans_are_told_apart(local: SmallRoot) -> None:
    root = local.root
    loser = f"track/{local.key('track a')}/tracks-0123456789abcdef.parquet"
    uncommitted = f"track/{'0' * 64}/tracks-0123456789abcdef.parquet"
    table = "datasets/clips/tables/videos-0123456789abcdef.parquet"
    temporary = f"track/{'1' * 64}/.tracks-0.parquet.0123abcd"
    for path in (loser, uncommitted, table, temporary, "track/notes.txt", "datasets/clips/notes.txt"):
        root.write_bytes(path, b"left")
    report = _later(root)
    words = {finding.path: finding.words for finding in report.findings if finding.kind == "orphan"}
    assert words == {
        loser: "left by a writer that lost the race for its unit",
        uncommitted: "its unit is not committed",
        table: "no version names this table",
        temporary: "a write that did not end",
    }
    assert {one.path for one in report.findings if one.kind == "foreign"} == {
        "track/notes.txt",
        "datasets/clips/notes.txt",
    }
    assert report.broken == ()
    assert all(one.age_seconds is not None and one.age_seconds >= 0 and one.size == 4 for one in report.findings)
    assert repair(root, report) == []
    assert root.exists(loser)


def test_what_a_live_run_may_be_writing_is_no_orphan(small: SmallRoot) -> None:
    key = "0" * 64
    small.root.write_bytes(f"track/{key}/tracks-0123456789abcdef.parquet", b"under way")
    small.root.write_bytes(video_path(TEST_DIGEST), b"test")
    assert len(_later(small.root).findings) == 2
    with Lease(small.root, "run") as lease:
        lease.protect([key])
        assert _later(small.root).findings == ()


def test_a_unit_committed_during_the_check_is_no_orphan(local: SmallRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file was listed before its manifest was there."""
    late = document("track", video="late")
    walk, done = local.root.walk, list[Manifest]()

    def walk_then_commit(folder: str) -> Iterator[object]:
        if folder == "track":
            local.root.write_bytes(f"track/{late.key}/tracks-0123456789abcdef.parquet", b"late")
        yield from list(walk(folder))
        if folder == "track" and not done:
            done.append(commit(local.root, late, {"tracks.parquet": b"late"}))

    monkeypatch.setattr(local.root, "walk", walk_then_commit)
    assert _later(local.root).findings == ()


def test_a_unit_collected_during_the_check_is_not_missing_its_files(
    local: SmallRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = commit(local.root, document("track", video="gone"), {"tracks.parquet": b"tracks"})

    def read_then_collect(*arguments: Any) -> StageContents:
        contents = read_stage(*arguments)
        local.root.remove_many([manifest_path("track", unit.key), unit.files["tracks.parquet"].path])
        return contents

    monkeypatch.setattr(fsck, "read_stage", read_then_collect)
    assert check(local.root).findings == ()


def test_checkpoints_of_attempts(small: SmallRoot) -> None:
    waiting, committed = document("train", triplets="later").key, small.key("train")
    whole = f"train/{waiting}/attempts/one/checkpoint-000000005-{TEST_DIGEST[:16]}.safetensors"
    broken = f"train/{waiting}/attempts/one/checkpoint-000000009-0123456789abcdef.safetensors"
    stale = f"train/{committed}/attempts/two/checkpoint-000000005-{TEST_DIGEST[:16]}.safetensors"
    for path in (whole, broken, stale, attempts_document_path("train", waiting)):
        small.root.write_bytes(path, b"test")
    report = _later(small.root)
    assert kinds(report) == {("unfinished", whole), ("damaged_checkpoint", broken), ("orphan", stale)}
    with Lease(small.root, "train", {"key": waiting, "attempt": "one"}):
        assert kinds(_later(small.root)) == {("damaged_checkpoint", broken), ("orphan", stale)}
        assert [action.kind for action in repair(small.root, report)] == ["left"]
    assert [action.kind for action in repair(small.root, report)] == ["removed_file"]
    assert not small.root.exists(broken)
    assert small.root.exists(whole)


def test_a_store_that_is_down_is_no_damage(local: SmallRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(path: str) -> bytes:
        raise StoreUnavailable("root: failed 3 times")

    monkeypatch.setattr(local.root, "read_bytes", down)
    with pytest.raises(StoreUnavailable):
        check(local.root)


def test_progress_is_told(local: SmallRoot) -> None:
    told: list[tuple[int, int, str]] = []
    check(local.root, progress=lambda done, total, note: told.append((done, total, note)))
    assert (6, 6, "track manifests") not in told
    assert (3, 3, "track manifests") in told
    assert (3, 3, "track files") in told


class _Later(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(hours=1)


def _later(root: Root) -> Report:
    """A check that begins an hour from now, when what is there has an age."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsck, "datetime", _Later)
        return check(root)


def _trained(small: SmallRoot) -> dict[str, UnitEntry]:
    return {"train": UnitEntry(small.key("train"))}
