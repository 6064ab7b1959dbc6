"""fsck: damage to every kind of file is named, repaired, and made again by the next run; nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from storage import fsck
from storage.findings import Report
from storage.fsck import check
from storage.layout import attempts_document_path, purged_path
from storage.leases import Lease, live_leases
from storage.manifests import SCHEMA, Manifest, accept, commit, manifest_path, read_manifest, video_path
from storage.protection import collecting
from storage.repair import Action, repair, without_units
from storage.root import Root, RootError, StoreUnavailable, open_root
from storage.versions import UnitEntry, Version, VideoEntry, latest_version, read_head, update_version, version_path
from tests.storage.small_root import DATASET, DIGESTS, VIDEOS, SmallRoot, build, commit_video, document

Damage = Callable[[Root, str], None]


def flip(root: Root, path: str) -> None:
    data = bytearray(root.read_bytes(path))
    data[len(data) // 2] ^= 1
    root.write_bytes(path, bytes(data))


def truncate(root: Root, path: str) -> None:
    root.write_bytes(path, root.read_bytes(path)[:-1])


def grow(root: Root, path: str) -> None:
    root.write_bytes(path, root.read_bytes(path) + b"!")


def delete(root: Root, path: str) -> None:
    root.remove(path)


DAMAGES: dict[str, Damage] = {"flipped": flip, "truncated": truncate, "grown": grow, "missing": delete}
TEST_DIGEST = hashlib.sha256(b"test").hexdigest()
UNITS = ("download b", "track a", "shard train", "triplets", "train", "scores")


@pytest.fixture
def small(root: Root) -> SmallRoot:
    return build(root)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SmallRoot:
    return build(open_root(str(tmp_path_factory.mktemp("built"))))


@pytest.fixture
def local(built: SmallRoot, tmp_path: Path) -> SmallRoot:
    """A copy on local disk: nothing of it waits for the disk, which a build does."""
    shutil.copytree(built.root.base, tmp_path / "small")
    return replace(built, root=open_root(str(tmp_path / "small")))


def test_a_sound_root_has_no_findings(small: SmallRoot) -> None:
    for quick in (False, True):
        report = check(small.root, quick=quick)
        assert report.findings == ()
        assert (report.versions, report.units, report.files, report.quick) == (3, len(small.units), 14, quick)
        assert report.bytes > sum(map(len, VIDEOS.values()))


def test_an_empty_root_is_sound(root: Root) -> None:
    assert check(root).findings == ()
    assert repair(root, check(root)) == []


def test_damage_to_any_unit_is_named_and_repaired(small: SmallRoot) -> None:
    """All kinds of units and of damage at once: each is named, dropped and made again, the rest stands."""
    before = latest_version(small.root, DATASET)
    damages = dict(zip(UNITS, [*DAMAGES, *DAMAGES], strict=False))
    for unit, damage in damages.items():
        DAMAGES[damage](small.root, small.path(unit))
    report = check(small.root)
    assert _kinds(report) == {(damage, small.path(unit)) for unit, damage in damages.items()}
    assert {finding.units for finding in report.findings} == {_unit(small, unit) for unit in UNITS}
    assert {finding.datasets for finding in report.findings} == {(DATASET,)}
    assert report.broken == report.findings
    assert _kinds(check(small.root, quick=True)) == {one for one in _kinds(report) if one[0] != "flipped"}

    actions = repair(small.root, report)
    removed = [action.path for action in actions if action.kind == "removed_manifest"]
    assert sorted(removed) == sorted(manifest_path(*_unit(small, unit)[0]) for unit in UNITS)
    after = latest_version(small.root, DATASET)
    assert after.number == before.number + 1
    assert after == replace(_dropped(small, before), number=after.number, created=after.created)
    assert "6 broken units" in read_head(small.root, DATASET, after.number).note
    left = check(small.root)
    assert left.broken == ()
    assert set(left.counts) <= {"history", "orphan"}
    assert live_leases(small.root) == []

    build(small.root)  # what the next run makes
    assert check(small.root).findings == ()


@pytest.mark.parametrize("unit", ["download a", "train"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_one_broken_unit_leaves_the_others_alone(local: SmallRoot, damage: str, unit: str) -> None:
    DAMAGES[damage](local.root, local.path(unit))
    (finding,) = check(local.root).findings
    assert (finding.kind, finding.path, finding.units) == (damage, local.path(unit), _unit(local, unit))
    repair(local.root, check(local.root))
    gone = {
        name for name, manifest in local.units.items() if not read_manifest(local.root, manifest.stage, manifest.key)
    }
    assert gone == {unit}


def test_videos_and_sources_keep_what_they_were_given(local: SmallRoot) -> None:
    flip(local.root, local.path("track a"))
    flip(local.root, video_path(DIGESTS["b"]))
    repair(local.root, check(local.root))
    version = latest_version(local.root, DATASET)
    entry = version.videos[DIGESTS["a"]]
    assert (entry.key, entry.group, entry.split) == ("", "a", "train")
    assert (version.sources["b"].key, version.sources["b"].video) == ("", DIGESTS["b"])
    assert version.videos[DIGESTS["b"]].key == local.key("track b")
    assert not local.root.exists(video_path(DIGESTS["b"]))


def test_tracks_of_a_dropped_video_need_its_source_again(local: SmallRoot) -> None:
    _drop_videos(local.root)
    delete(local.root, local.path("track a"))
    (finding,) = check(local.root).findings
    assert finding.kind == "missing"
    repair(local.root, check(local.root))
    version = latest_version(local.root, DATASET)
    assert [name for name, source in version.sources.items() if not source.key] == ["a"]
    assert [video for video, entry in version.videos.items() if not entry.key] == [DIGESTS["a"]]


def test_dropped_videos_are_not_missing_and_fetched_ones_are(local: SmallRoot) -> None:
    _drop_videos(local.root)
    assert check(local.root).findings == ()
    update_version(local.root, DATASET, lambda version: _with_dropped(version, dropped=False))
    assert {finding.kind for finding in check(local.root).findings} == {"missing"}


def test_one_video_of_two_sources_breaks_both_downloads(local: SmallRoot) -> None:
    second = commit_video(local.root, "mirror of a", VIDEOS["a"])
    flip(local.root, video_path(DIGESTS["a"]))
    (finding,) = check(local.root).findings
    assert set(finding.units) == {("download", second.key), ("download", local.key("download a"))}
    repair(local.root, check(local.root))
    assert read_manifest(local.root, "download", second.key) is None


def test_a_video_that_nothing_names_is_an_orphan_or_damaged(local: SmallRoot) -> None:
    whole, broken = video_path(TEST_DIGEST), video_path("f" * 64)
    local.root.write_bytes(whole, b"test")
    local.root.write_bytes(broken, b"something else")
    assert _kinds(_later(local.root)) == {("orphan", whole), ("damaged_video", broken)}
    repair(local.root, check(local.root))
    assert local.root.exists(whole)
    assert not local.root.exists(broken)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"schema": 2}'])
def test_a_damaged_manifest_is_dropped(local: SmallRoot, data: bytes) -> None:
    path = manifest_path("track", local.key("track a"))
    local.root.write_bytes(path, data)
    assert _kinds(check(local.root)) == {("damaged_manifest", path)}
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
    local.root.write_bytes(path, json.dumps(record).encode())
    (finding,) = check(local.root).findings
    assert (finding.kind, finding.words) == ("damaged_manifest", "its key document does not give its key")


def test_a_manifest_of_a_newer_schema_is_reported_and_left(local: SmallRoot) -> None:
    path = manifest_path("track", local.key("track a"))
    record = json.loads(local.root.read_bytes(path)) | {"schema": SCHEMA + 1, "unheard_of": 1}
    local.root.write_bytes(path, json.dumps(record).encode())
    assert _kinds(check(local.root)) == {("newer_manifest", path)}
    assert repair(local.root, check(local.root)) == [Action("advice", path, "update Tritrack, which reads it then")]
    assert json.loads(local.root.read_bytes(path)) == record
    assert latest_version(local.root, DATASET).number == 3


def test_an_alias_follows_its_unit(local: SmallRoot) -> None:
    alias = _accept(local, "track a")
    assert check(local.root).findings == ()
    flip(local.root, local.path("track a"))
    (finding,) = check(local.root).findings
    assert set(finding.units) == {("track", alias.key), ("track", local.key("track a"))}
    repair(local.root, check(local.root))
    entry = latest_version(local.root, DATASET).videos[DIGESTS["a"]]
    assert (entry.key, entry.accepted) == ("", "")
    assert read_manifest(local.root, "track", alias.key) is None


def test_an_alias_whose_unit_is_gone_is_named(local: SmallRoot) -> None:
    alias = _accept(local, "track a")
    local.root.remove(manifest_path("track", local.key("track a")))
    assert {kind for kind, _ in _kinds(check(local.root))} == {"dangling_alias", "lost_unit"}
    repair(local.root, check(local.root))
    assert read_manifest(local.root, "track", alias.key) is None
    assert latest_version(local.root, DATASET).videos[DIGESTS["a"]].key == ""
    assert check(local.root).broken == ()


def test_a_lost_alias_leaves_its_unit_alone(local: SmallRoot) -> None:
    alias = _accept(local, "track a")
    local.root.remove(manifest_path("track", alias.key))
    assert _kinds(check(local.root)) == {("lost_unit", manifest_path("track", alias.key))}
    repair(local.root, check(local.root))
    entry = latest_version(local.root, DATASET).videos[DIGESTS["a"]]
    assert (entry.key, entry.accepted) == (local.key("track a"), "")


@pytest.mark.parametrize(
    ("table", "damage"), [("sources", "flipped"), ("videos", "truncated"), ("shards", "missing"), ("videos", "missing")]
)
def test_a_damaged_table_is_named_with_what_to_do(local: SmallRoot, table: str, damage: str) -> None:
    path = latest_version(local.root, DATASET).tables[table].path  # type: ignore[index]
    DAMAGES[damage](local.root, path)
    report = check(local.root)
    kind = "missing_table" if damage == "missing" else "damaged_table"
    assert (kind, path) in _kinds(report)
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
    assert _kinds(report) == {(kind, path), ("flipped", local.path("train"))}
    actions = repair(local.root, report)
    assert [action.path for action in actions if action.kind == "new_version"] == [version_path("other", 2)]
    assert any(action.path == f"datasets/{DATASET}" for action in actions if action.kind == "advice")
    assert latest_version(local.root, "other").units == {}


def test_a_gap_between_versions_is_named(local: SmallRoot) -> None:
    local.root.remove(version_path(DATASET, 2))
    assert _kinds(check(local.root)) == {("missing_head", version_path(DATASET, 2))}


def test_a_unit_that_a_version_names_and_nobody_holds(local: SmallRoot) -> None:
    path = manifest_path("train", local.key("train"))
    local.root.remove(path)
    report = _later(local.root)
    assert ("lost_unit", path) in _kinds(report)
    assert {one.kind for one in report.findings} == {"lost_unit", "orphan"}
    repair(local.root, report)
    assert "train" not in latest_version(local.root, DATASET).units
    again = check(local.root)
    assert again.broken == ()
    assert ("history", path) in _kinds(again)


def test_purged_units_are_told_as_purged(local: SmallRoot) -> None:
    """What reduces over a purged video went with it; older versions still name all of it."""
    local.root.write_bytes(purged_path(DIGESTS["a"]), b"{}")
    update_version(local.root, DATASET, lambda version: Version(DATASET))
    local.root.remove(video_path(DIGESTS["a"]))
    for unit in ("download a", "track a", "shard train", "triplets", "scores"):
        for path in (manifest_path(*_unit(local, unit)[0]), *(f.path for f in local.units[unit].files.values())):
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


def test_checkpoints_of_attempts(small: SmallRoot) -> None:
    waiting, committed = document("train", triplets="later").key, small.key("train")
    whole = f"train/{waiting}/attempts/one/checkpoint-000000005-{TEST_DIGEST[:16]}.safetensors"
    broken = f"train/{waiting}/attempts/one/checkpoint-000000009-0123456789abcdef.safetensors"
    stale = f"train/{committed}/attempts/two/checkpoint-000000005-{TEST_DIGEST[:16]}.safetensors"
    for path in (whole, broken, stale, attempts_document_path("train", waiting)):
        small.root.write_bytes(path, b"test")
    report = _later(small.root)
    assert _kinds(report) == {("unfinished", whole), ("damaged_checkpoint", broken), ("orphan", stale)}
    with Lease(small.root, "train", {"key": waiting, "attempt": "one"}):
        assert _kinds(_later(small.root)) == {("damaged_checkpoint", broken), ("orphan", stale)}
        assert [action.kind for action in repair(small.root, report)] == ["left"]
    assert [action.kind for action in repair(small.root, report)] == ["removed_file"]
    assert not small.root.exists(broken)
    assert small.root.exists(whole)


def test_repair_leaves_what_a_live_run_has_planned_and_what_is_sound_by_now(small: SmallRoot) -> None:
    flip(small.root, small.path("track a"))
    flip(small.root, small.path("track b"))
    flip(small.root, video_path(DIGESTS["a"]))
    report = check(small.root)
    small.root.write_bytes(small.path("track b"), b"tracks of b " * 20)  # mended since
    with Lease(small.root, "run") as lease:
        lease.protect([small.key("track a")])
        actions = {action.path: (action.kind, action.words) for action in repair(small.root, report)}
    assert {kind for kind, _ in actions.values()} == {"left"}
    assert "a live run is at this unit" in actions[small.path("track a")][1]
    assert "about to use this video" in actions[video_path(DIGESTS["a"])][1]
    assert actions[small.path("track b")][1] == "it is sound by now"
    assert latest_version(small.root, DATASET).number == 3


def test_repair_refuses_another_root_and_another_collector(
    local: SmallRoot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flip(local.root, local.path("train"))
    report = check(local.root)
    with pytest.raises(RootError, match="check this root first"):
        repair(open_root(str(tmp_path_factory.mktemp("other"))), report)
    with collecting(local.root, "gc"), pytest.raises(RootError, match="repair: gc is under way"):
        repair(local.root, report)


class Killed(BaseException):
    """Stands for SIGKILL at a write or removal."""


@pytest.mark.parametrize("survived", [0, 1, 3, 4, 5, 6, 7, 8])
def test_a_repair_that_is_killed_is_finished_by_the_next(
    local: SmallRoot, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for unit in ("download b", "track a", "train"):
        flip(local.root, local.path(unit))
    before = latest_version(local.root, DATASET)
    report = check(local.root)
    left = iter(range(survived))

    def dying(operation: Callable[..., object]) -> Callable[..., object]:
        def work(path: str, *rest: object) -> object:
            if not path.startswith("state/") and next(left, None) is None:
                raise Killed
            return operation(path, *rest)

        return work

    with monkeypatch.context() as patch:
        for name in ("remove", "write_bytes", "create_bytes"):
            patch.setattr(local.root, name, dying(getattr(local.root, name)))
        with pytest.raises(Killed):
            repair(local.root, report)
    for _ in range(2):
        repair(local.root, check(local.root))
    assert check(local.root).broken == ()
    after = latest_version(local.root, DATASET)
    units = {("download", local.key("download b")), ("track", local.key("track a")), ("train", local.key("train"))}
    assert after == replace(without_units(before, units), number=after.number, created=after.created)
    assert after.number == before.number + 1


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


def test_without_units_is_pure_and_changes_nothing_that_is_sound() -> None:
    version = Version("v", videos={"a": VideoEntry("k")})
    assert without_units(version, set()) is version
    assert without_units(version, {("track", "other")}) == version
    assert without_units(without_units(version, {("track", "k")}), {("track", "k")}).videos["a"].key == ""


class _Later(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(hours=1)


def _later(root: Root) -> Report:
    """A check that begins an hour from now, when what is there has an age."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsck, "datetime", _Later)
        return check(root)


def _kinds(report: Report) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in report.findings}


def _unit(small: SmallRoot, name: str) -> tuple[tuple[str, str]]:
    manifest = small.units[name]
    return ((manifest.stage, manifest.key),)


def _trained(small: SmallRoot) -> dict[str, UnitEntry]:
    return {"train": UnitEntry(small.key("train"))}


def _dropped(small: SmallRoot, version: Version) -> Version:
    return without_units(version, {_unit(small, unit)[0] for unit in UNITS})


def _accept(small: SmallRoot, unit: str) -> Manifest:
    """Another key that the unit's output was accepted for, named by the newest version."""
    standing = small.units[unit]
    alias = accept(small.root, document(standing.stage, code="2", video=DIGESTS["a"]), standing, ["code: module"])

    def change(version: Version) -> Version:
        entry = replace(version.videos[DIGESTS["a"]], accepted=alias.key)
        return replace(version, videos={**version.videos, DIGESTS["a"]: entry})

    update_version(small.root, DATASET, change)
    return alias


def _with_dropped(version: Version, dropped: bool) -> Version:
    return replace(version, videos={name: replace(one, dropped=dropped) for name, one in version.videos.items()})


def _drop_videos(root: Root) -> None:
    update_version(root, DATASET, lambda version: _with_dropped(version, dropped=True))
    root.remove_many(video_path(digest) for digest in DIGESTS.values())
