"""`explain`: the reasons are the differences, stage by stage, and what follows is told as expected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.explain import StageExplanation, explain_run
from flows.record import record_download
from flows.selection import SourceList
from storage.keys import document_from_json
from storage.manifests import commit
from storage.root import Root, open_root
from storage.versions import Failure, Version
from tasks.batch import Outcome
from tasks.presets import RunConfig
from tests.flows.imagined import chosen, imagined_run, imagined_sources

CONFIG = chosen()
SOURCES = imagined_sources(*range(8))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def first(root: Root) -> Version:
    """A version that everything ran for, with the manifests of what reduces over it."""
    version, plans = imagined_run(Version("night"), SOURCES, CONFIG)
    for plan in plans[2:]:
        for unit in plan.units:
            commit(root, document_from_json(unit.document.to_json()), {})
    return version


def _with(**sections: dict[str, object]) -> RunConfig:
    document = CONFIG.model_dump()
    for name, fields in sections.items():
        document[name] |= fields
    return RunConfig.model_validate(document)


def _told(root: Root, version: Version, given: SourceList, config: RunConfig) -> dict[str, StageExplanation]:
    return {stage.stage: stage for stage in explain_run(root, version, given, config)}


def test_nothing_to_do_is_told_as_nothing(root: Root, first: Version) -> None:
    told = _told(root, first, SOURCES, CONFIG)
    assert [stage.to_run for stage in told.values()] == [0] * 5
    assert not any(stage.reasons or stage.expected for stage in told.values())


def test_a_changed_parameter_is_told_with_both_values_and_what_follows_is_expected(root: Root, first: Version) -> None:
    told = _told(root, first, SOURCES, _with(track={"fb_threshold_px": 0.8}))
    (reason,) = told["track"].reasons
    assert (reason.text, reason.number) == ("fb_threshold_px 4.0 → 0.8", 8)
    assert not told["track"].expected
    assert told["download"].to_run == 0
    for stage in ("shard", "train", "evaluate"):
        assert told[stage].expected
        assert told[stage].to_run >= 1
    assert [reason.text for reason in told["train"].reasons] == ["input: triplets"]


def test_what_is_expected_is_what_comes(root: Root, first: Version) -> None:
    for given, config in [
        (imagined_sources(*range(5)), CONFIG),
        (SOURCES, _with(track={"patch_px": 48}, shard={"margin": 1.3})),
        (SOURCES, _with(train={"steps": 5})),
    ]:
        _, plans = imagined_run(first, given, config)
        told = _told(root, first, given, config)
        assert {stage: one.to_run for stage, one in told.items()} == {plan.stage: len(plan.units) for plan in plans}


def test_growth_is_told_before_the_new_videos_are_known(root: Root, first: Version) -> None:
    told = _told(root, first, imagined_sources(*range(12)), CONFIG)
    assert [told[stage].to_run for stage in ("download", "track", "train")] == [4, 4, 1]
    assert told["shard"].to_run in (2, 3), "the new videos' split goes by their bytes"


def test_changed_code_names_the_file_and_a_library_both_versions(root: Root, first: Version) -> None:
    recipes = {}
    for digest, recipe in first.recipes.items():
        assert isinstance(recipe, dict)
        if recipe["stage"] == "track":
            recipe = recipe | {
                "code": {**recipe["code"], "tasks.track.gates": "0" * 16},
                "libraries": {**recipe["libraries"], "av": "1.0"},
            }
            entries = {video: replace(entry, key=f"{entry.key[:-1]}x") for video, entry in first.videos.items()}
            digest = digest[::-1]
            entries = {video: replace(entry, recipe=digest) for video, entry in entries.items()}
        recipes[digest] = recipe
    told = _told(root, replace(first, videos=entries, recipes=recipes), SOURCES, CONFIG)
    (reason,) = told["track"].reasons
    assert reason.text.startswith("code: tasks/track/gates.py; library: av 1.0 → ")


def test_new_removed_and_failed_sources_are_told_apart(root: Root, first: Version) -> None:
    given = imagined_sources(*range(1, 10))
    failing = first.sources[given.sources[0].id]
    failure = Failure("download", "transient", "timeout", "timed out", time="now")
    outcome = Outcome(failing.location, failing.key, failure=failure)
    version = record_download(first, SOURCES, CONFIG, {outcome.key: outcome})
    told = {reason.text: reason.number for reason in _told(root, version, given, CONFIG)["download"].reasons}
    assert told == {
        "new source": 2,
        "tried again after timeout": 1,
        "removed: their list does not name them any more": 1,
    }
    track = _told(root, version, given, CONFIG)["track"]
    assert [(reason.text, reason.number) for reason in track.reasons] == [("new video", 2)]
    assert version.sources[given.sources[0].id].video, "a failure loses nothing that an earlier try gave"
    assert track.expected


def test_a_retired_source_that_is_listed_again_is_told(root: Root, first: Version) -> None:
    retired, _ = imagined_run(first, imagined_sources(*range(7)), CONFIG)
    reasons = _told(root, retired, SOURCES, CONFIG)["download"].reasons
    assert [(reason.text, reason.number) for reason in reasons] == [("returned: their list names them again", 1)]


def test_shards_are_told_by_what_changed(root: Root, first: Version) -> None:
    told = _told(root, first, SOURCES, _with(shard={"jpeg_quality": 80}))
    assert "jpeg_quality 92 → 80" in {reason.text for reason in told["shard"].reasons}
    told = _told(root, first, imagined_sources(*range(7)), CONFIG)
    texts = {reason.text for reason in told["shard"].reasons}
    assert "packed again, since tracks of its shard were made again, removed or moved" in texts


def test_a_commit_that_is_gone_is_told(root: Root, first: Version) -> None:
    changed = _with(train={"steps": 5})
    key = first.units["train"].key
    root.remove(f"train/{key}/manifest.json")
    told = _told(root, first, SOURCES, changed)
    assert [reason.text for reason in told["train"].reasons] == ["its commit is gone"]


def test_the_explanation_is_json(root: Root, first: Version) -> None:
    told = _told(root, first, SOURCES, _with(track={"fb_threshold_px": 0.8}))["track"].to_json()
    assert told["reasons"][0]["text"] == "fb_threshold_px 4.0 → 0.8"  # type: ignore[index,call-overload]
