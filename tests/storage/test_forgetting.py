"""Units that are forgotten are made again; what is younger, in use or of another stage stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from storage.forgetting import forget_units
from storage.fsck import check
from storage.leases import Lease
from storage.manifests import manifest_path, read_manifest
from storage.root import open_root
from storage.versions import latest_version, unit_keys
from tests.storage.small_root import DATASET, SmallRoot, build

_LATER = "9999-01-01T00:00:00+00:00"


@pytest.fixture
def small(tmp_path: Path) -> SmallRoot:
    return build(open_root(str(tmp_path / "root")))


def test_forgotten_units_are_named_no_more_and_lose_their_commit(small: SmallRoot) -> None:
    tracks = {("track", small.key(f"track {name}")) for name in "ab"}
    assert forget_units(small.root, tracks, _LATER, "forced") == 2
    version = latest_version(small.root, DATASET)
    assert tracks.isdisjoint(unit_keys(version))
    assert ("track", small.key("track c")) in set(unit_keys(version))
    assert all(read_manifest(small.root, *unit) is None for unit in tracks)
    assert not [finding for finding in check(small.root).findings if finding.is_broken]


def test_what_was_committed_since_stays(small: SmallRoot) -> None:
    standing = latest_version(small.root, DATASET)
    units, created = {("train", small.key("train"))}, datetime.fromisoformat(small.units["train"].created)
    until = (created - timedelta(seconds=1)).isoformat(timespec="seconds")
    assert forget_units(small.root, units, until, "forced") == 0
    assert latest_version(small.root, DATASET) == standing
    assert forget_units(small.root, units, created.isoformat(timespec="seconds"), "forced") == 1, "the same second"


def test_what_a_live_run_has_planned_stays(small: SmallRoot) -> None:
    unit = ("train", small.key("train"))
    with Lease(small.root, "run") as lease:
        lease.protect([unit[1]])
        assert forget_units(small.root, {unit}, _LATER, "forced") == 0
    assert small.root.exists(manifest_path(*unit))


def test_a_kill_between_the_version_and_the_manifest_leaves_a_sound_root(
    small: SmallRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = ("train", small.key("train"))

    def die(paths: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(small.root), "remove_many", lambda self, paths: die(paths))
    with pytest.raises(KeyboardInterrupt):
        forget_units(small.root, {unit}, _LATER, "forced")
    assert unit not in set(unit_keys(latest_version(small.root, DATASET)))
    assert read_manifest(small.root, *unit) is not None, "the next run finds it committed"
