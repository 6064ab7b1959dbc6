"""`accept`: outputs of other code stand for the present one, nothing runs again, and a record is kept."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.accept import accept_stage
from flows.plan import is_done, plan_run
from storage.fingerprint import fingerprint
from storage.keys import library_versions
from storage.manifests import commit, read_manifest
from storage.root import Root, open_root
from storage.versions import Version, latest_version, update_version
from tasks.batch import Unit, run_unit
from tasks.presets import RunConfig
from tasks.shard import key as shard_key
from tasks.track import key as track_key
from tests.flows import imagined
from tests.flows.imagined import chosen, imagined_run, imagined_sources, imagined_video, ran

Edit = Callable[[str], None]

CONFIG = chosen()
SOURCES = imagined_sources(*range(6))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the keys of a stage name one more module and another numpy, as an edit and an upgrade would."""

    def change(stage: str) -> None:
        key = importlib.import_module(f"tasks.{stage}.key")
        monkeypatch.setattr(key, "fingerprint", lambda *entries: {**fingerprint(*entries), "tasks.edited": "1" * 16})
        monkeypatch.setattr(key, "library_versions", lambda *names: {**library_versions(*names), "numpy": "99.0"})
        _forget_recipes()

    yield change
    monkeypatch.undo()
    _forget_recipes()


def _forget_recipes() -> None:
    track_key.recipe.cache_clear()
    shard_key.shard_recipe.cache_clear()


@pytest.fixture
def first(root: Root) -> Version:
    """A stored version, with a manifest for each of its units."""
    version, plans = imagined_run(Version("night"), SOURCES, CONFIG)
    for plan in plans:
        for unit in plan.units:
            commit(root, unit.document, {"output.bin": unit.key.encode()}, counts={"tracks": 5, "pairs": 5})
    return update_version(root, "night", lambda _: version)


@pytest.mark.parametrize("stage", ["track", "shard", "train", "evaluate"])
def test_after_accepting_an_edit_nothing_runs_again(root: Root, first: Version, edit: Edit, stage: str) -> None:
    edit(stage)
    assert not is_done(plan_run(first, SOURCES, CONFIG))
    done = accept_stage(root, first, CONFIG, stage)
    assert done.refused == {}
    for differences in done.accepted:
        assert "code: tasks/edited.py (new)" in differences
        assert "library: numpy" in differences
    version = latest_version(root, "night")
    assert version.number == done.version == first.number + 1
    assert is_done(plan_run(version, SOURCES, CONFIG)), "neither it nor what follows"
    assert {video: entry.key for video, entry in version.videos.items()} == {
        video: entry.key for video, entry in first.videos.items()
    }


def test_the_manifest_keeps_a_record_and_names_the_standing_files(root: Root, first: Version, edit: Edit) -> None:
    edit("track")
    accept_stage(root, first, CONFIG, "track")
    for entry in latest_version(root, "night").videos.values():
        old, new = read_manifest(root, "track", entry.key), read_manifest(root, "track", entry.accepted)
        assert old is not None
        assert new is not None
        assert new.files == old.files
        assert new.accepted is not None
        assert new.accepted.key == entry.key
        assert new.accepted.differences == ("code: tasks/edited.py (new)", "library: numpy (none) → 99.0")
        assert new.accepted.time
        assert old.accepted is None, "what was committed stays as it was"


def test_another_data_set_finds_the_accepted_unit_and_goes_by_the_standing_key(
    root: Root, first: Version, edit: Edit
) -> None:
    edit("track")
    accept_stage(root, first, CONFIG, "track")
    video = next(iter(first.videos))
    document = imagined.plan_track(replace(first, videos={}), CONFIG).units[0].document
    outcome = run_unit(root, Unit(video, document, "nothing:is_called", ()))
    assert outcome.cached
    assert outcome.accepted in {entry.key for entry in first.videos.values()}


def test_accepting_twice_changes_nothing(root: Root, first: Version, edit: Edit) -> None:
    edit("track")
    accept_stage(root, first, CONFIG, "track")
    version = latest_version(root, "night")
    again = accept_stage(root, version, CONFIG, "track")
    assert (again.accepted, again.refused, again.version) == ({}, {}, version.number)


def test_new_items_run_with_the_present_code_beside_accepted_ones(root: Root, first: Version, edit: Edit) -> None:
    edit("track")
    accept_stage(root, first, CONFIG, "track")
    _, plans = imagined_run(latest_version(root, "night"), imagined_sources(*range(7)), CONFIG)
    assert [item for stage, item in ran(plans) if stage == "track"] == [imagined_video(6)]


def test_a_changed_parameter_is_refused_by_name(root: Root, first: Version, edit: Edit) -> None:
    edit("track")
    document = CONFIG.model_dump()
    document["track"] |= {"fb_threshold_px": 0.8}
    done = accept_stage(root, first, RunConfig.model_validate(document), "track")
    assert done.accepted == {}
    assert done.refused
    assert all(why.startswith("fb_threshold_px 4.0 → 0.8") for why in done.refused)
    assert latest_version(root, "night") == first


def test_units_whose_inputs_changed_are_refused(root: Root, first: Version) -> None:
    grown, _ = imagined_run(first, imagined_sources(*range(9)), CONFIG)
    stale = replace(grown, units={**grown.units, "train": first.units["train"]})
    done = accept_stage(root, stale, CONFIG, "train")
    assert (done.accepted, done.refused) == ({}, {"its inputs differ": 1})


def test_a_commit_that_is_gone_is_not_accepted(root: Root, first: Version, edit: Edit) -> None:
    video = next(iter(first.videos))
    root.remove(f"track/{first.videos[video].key}/manifest.json")
    edit("track")
    done = accept_stage(root, first, CONFIG, "track")
    assert done.refused == {"its commit is gone": 1}
    assert sum(done.accepted.values()) == 5
    _, plans = imagined_run(latest_version(root, "night"), SOURCES, CONFIG)
    assert [item for stage, item in ran(plans) if stage == "track"] == [video]


def test_downloads_have_nothing_to_accept(root: Root, first: Version) -> None:
    with pytest.raises(ValueError, match="neither code nor library versions"):
        accept_stage(root, first, CONFIG, "download")
