"""Repair: what is broken is dropped, named no more and made again by the next run; nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from storage.fsck import check
from storage.leases import Lease, live_leases
from storage.manifests import manifest_path, read_manifest, video_path
from storage.protection import collecting
from storage.repair import repair, without_units
from storage.root import RootError, open_root
from storage.versions import SourceEntry, Version, VideoEntry, latest_version, read_head
from tests.storage.small_root import (
    DAMAGES,
    DATASET,
    DIGESTS,
    VIDEOS,
    SmallRoot,
    accept_again,
    build,
    commit_video,
    delete,
    drop_videos,
    flip,
    kinds,
    name_of,
)

UNITS = ("download b", "track a", "shard train", "triplets", "train", "scores")


def test_damage_to_any_unit_is_named_and_repaired(small: SmallRoot) -> None:
    """All kinds of units and of damage at once: each is named, dropped and made again, the rest stands."""
    before = latest_version(small.root, DATASET)
    damages = dict(zip(UNITS, [*DAMAGES, *DAMAGES], strict=False))
    for unit, damage in damages.items():
        DAMAGES[damage](small.root, small.path(unit))
    report = check(small.root)
    assert kinds(report) == {(damage, small.path(unit)) for unit, damage in damages.items()}
    assert {finding.units for finding in report.findings} == {name_of(small, unit) for unit in UNITS}
    assert {finding.datasets for finding in report.findings} == {(DATASET,)}
    assert report.broken == report.findings
    assert kinds(check(small.root, quick=True)) == {one for one in kinds(report) if one[0] != "flipped"}

    actions = repair(small.root, report)
    removed = [action.path for action in actions if action.kind == "removed_manifest"]
    assert sorted(removed) == sorted(manifest_path(*name_of(small, unit)[0]) for unit in UNITS)
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
    assert (finding.kind, finding.path, finding.units) == (damage, local.path(unit), name_of(local, unit))
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
    drop_videos(local.root)
    delete(local.root, local.path("track a"))
    (finding,) = check(local.root).findings
    assert finding.kind == "missing"
    repair(local.root, check(local.root))
    version = latest_version(local.root, DATASET)
    assert [name for name, source in version.sources.items() if not source.key] == ["a"]
    assert [video for video, entry in version.videos.items() if not entry.key] == [DIGESTS["a"]]


def test_one_video_of_two_sources_breaks_both_downloads(local: SmallRoot) -> None:
    second = commit_video(local.root, "mirror of a", VIDEOS["a"])
    flip(local.root, video_path(DIGESTS["a"]))
    (finding,) = check(local.root).findings
    assert set(finding.units) == {("download", second.key), ("download", local.key("download a"))}
    repair(local.root, check(local.root))
    assert read_manifest(local.root, "download", second.key) is None


def test_an_alias_follows_its_unit(local: SmallRoot) -> None:
    alias = accept_again(local, "track a")
    assert check(local.root).findings == ()
    flip(local.root, local.path("track a"))
    (finding,) = check(local.root).findings
    assert set(finding.units) == {("track", alias.key), ("track", local.key("track a"))}
    repair(local.root, check(local.root))
    entry = latest_version(local.root, DATASET).videos[DIGESTS["a"]]
    assert (entry.key, entry.accepted) == ("", "")
    assert read_manifest(local.root, "track", alias.key) is None


def test_an_alias_whose_unit_is_gone_is_named(local: SmallRoot) -> None:
    alias = accept_again(local, "track a")
    local.root.remove(manifest_path("track", local.key("track a")))
    assert {kind for kind, _ in kinds(check(local.root))} == {"dangling_alias", "lost_unit"}
    repair(local.root, check(local.root))
    assert read_manifest(local.root, "track", alias.key) is None
    assert latest_version(local.root, DATASET).videos[DIGESTS["a"]].key == ""
    assert check(local.root).broken == ()


def test_a_lost_alias_leaves_its_unit_alone(local: SmallRoot) -> None:
    alias = accept_again(local, "track a")
    local.root.remove(manifest_path("track", alias.key))
    assert kinds(check(local.root)) == {("lost_unit", manifest_path("track", alias.key))}
    repair(local.root, check(local.root))
    entry = latest_version(local.root, DATASET).videos[DIGESTS["a"]]
    assert (entry.key, entry.accepted) == (local.key("track a"), "")


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


def test_without_units_is_pure_and_changes_nothing_that_is_sound() -> None:
    version = Version("v", videos={"a": VideoEntry("k")})
    assert without_units(version, set()) is version
    assert without_units(version, {("track", "other")}) == version
    untried = Version(
        "v", sources={"a": SourceEntry("http://a", "k"), "b": SourceEntry("http://b", "", listing="then")}
    )
    assert without_units(untried, {("track", "k"), ("download", "other")}) == untried
    assert without_units(without_units(version, {("track", "k")}), {("track", "k")}).videos["a"].key == ""


def _dropped(small: SmallRoot, version: Version) -> Version:
    return without_units(version, {name_of(small, unit)[0] for unit in UNITS})
