"""The planner: what runs, what is cached, and what a change redoes. No work is done here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flows.plan import (
    all_failures,
    is_done,
    plan_download,
    plan_evaluate,
    plan_run,
    plan_shard,
    plan_track,
    plan_train,
    shard_stage,
    unit_name,
)
from flows.record import drop_tracked, record_download, record_shard, record_track, want_again
from flows.selection import SourceList, known_sources
from storage.versions import Failure, Version, counts_of
from tasks.batch import Outcome
from tasks.download.sources import source_at
from tasks.presets import RunConfig
from tasks.train.config import TrainConfig
from tests.flows.imagined import chosen, imagined_outcomes, imagined_run, imagined_sources, imagined_video, ran
from tests.tasks.evaluate.voc_folder import make_voc
from tests.tasks.train.shapes import write_shapes

CONFIG = chosen()


def _run(version: Version, given: SourceList, config: RunConfig) -> tuple[Version, list[tuple[str, str]]]:
    after, plans = imagined_run(version, given, config)
    return after, ran(plans)


@pytest.fixture(scope="module")
def first() -> Version:
    return _run(Version("night"), imagined_sources(*range(8)), CONFIG)[0]


def test_a_second_run_does_nothing(first: Version) -> None:
    again, ran = _run(first, imagined_sources(*range(8)), CONFIG)
    assert ran == []
    assert again == first
    plans = plan_run(first, imagined_sources(*range(8)), CONFIG)
    assert is_done(plans)
    assert not any(plan.units for plan in plans)


def test_an_empty_data_set_is_not_done() -> None:
    assert not is_done(plan_run(Version("new"), SourceList([]), CONFIG))


def test_new_sources_run_alone(first: Version) -> None:
    grown, ran = _run(first, imagined_sources(*range(10)), CONFIG)
    assert [item for stage, item in ran if stage == "track"] == sorted(imagined_video(n) for n in (8, 9))
    assert {stage for stage, _ in ran} == {"download", "track", "shard", "train", "evaluate"}
    old = {shard.key for shard in first.shards}
    assert old <= {shard.key for shard in grown.shards}, "no old shard is packed again"
    assert sum(len(shard.tracks) for shard in grown.shards) == 10


def test_one_video_under_two_urls_is_tracked_once() -> None:
    given = SourceList([source_at("https://a.example/3.mp4"), source_at("https://b.example/3.mp4")])
    version, ran = _run(Version("twins"), given, CONFIG)
    assert [stage for stage, _ in ran].count("download") == 2
    assert [stage for stage, _ in ran].count("track") == 1
    assert len(version.videos) == 1


def _failing(version: Version, kind: str, time: str = "now") -> Version:
    given = imagined_sources(1)
    plan = plan_download(version, given, CONFIG)
    failure = Failure("download", kind, "why", "words", 1, time)  # type: ignore[arg-type]
    outcome = Outcome(plan.units[0].item, plan.units[0].key, failure=failure)
    return record_download(version, given, CONFIG, {outcome.key: outcome})


@pytest.mark.parametrize(("kind", "tried_again"), [("permanent", False), ("poison", False), ("transient", True)])
def test_only_transient_failures_are_tried_again(kind: str, tried_again: bool) -> None:
    version = _failing(Version("bad"), kind)
    plan = plan_download(version, imagined_sources(1), CONFIG)
    assert bool(plan.units) is tried_again
    assert list(all_failures(version)) == ["https://videos.example/1.mp4"]


def test_attempts_add_up_but_one_outcome_counts_once() -> None:
    version = _failing(_failing(Version("bad"), "transient"), "transient", "later")
    (failure,) = all_failures(version).values()
    assert failure.attempts == 2
    assert _failing(version, "transient", "later") == version, "recorded twice, as after a lost answer"


def test_recording_onto_a_newer_version_loses_nothing(first: Version) -> None:
    given = imagined_sources(20, origin="")
    plan = plan_download(first, given, CONFIG)
    other = replace(
        first, sources={**first.sources, **record_download(first, imagined_sources(30), CONFIG, {}).sources}
    )
    merged = record_download(other, given, CONFIG, imagined_outcomes(plan.units))
    assert set(merged.sources) == {*other.sources, *(source.id for source in given.sources)}


def test_a_source_that_its_list_leaves_out_is_retired_and_what_follows_is_made_without_it(first: Version) -> None:
    version, ran = _run(first, imagined_sources(*range(7)), CONFIG)
    (gone,) = (entry for entry in version.sources.values() if entry.removed)
    assert gone.location == "https://videos.example/7.mp4"
    assert {stage for stage, _ in ran} == {"shard", "train", "evaluate"}
    packed = {track for shard in version.shards for track in shard.tracks}
    assert version.videos[gone.video or ""].key not in packed
    assert known_sources(version).sources == [
        source for source in known_sources(first).sources if source.location != gone.location
    ]
    back, ran = _run(version, imagined_sources(*range(8)), CONFIG)
    assert [stage for stage, _ in ran if stage in ("download", "track")] == [], "its tombstone is lifted, no more"
    assert not any(entry.removed for entry in back.sources.values())


def test_another_list_or_none_retires_nothing(first: Version) -> None:
    for given in (
        imagined_sources(3, origin="other.txt"),
        imagined_sources(3, origin=""),
        known_sources(first),
    ):
        assert not plan_download(first, given, CONFIG).removed
    keep = CONFIG.model_copy(update={"download": CONFIG.download.model_copy(update={"keep_removed": True})})
    assert plan_download(first, imagined_sources(3), CONFIG).removed
    assert not plan_download(first, imagined_sources(3), keep).removed


def test_dropped_videos_are_fetched_again_only_where_they_must_be_tracked_again(first: Version) -> None:
    dropped = drop_tracked(first, first.videos)
    assert is_done(plan_run(dropped, imagined_sources(*range(8)), CONFIG))
    other = CONFIG.model_copy(update={"track": CONFIG.track.model_copy(update={"fb_threshold_px": 0.3})})
    plan = plan_track(dropped, other)
    assert (len(plan.units), len(plan.wanting)) == (0, 8)
    wanted = want_again(dropped, plan.wanting)
    fetch = plan_download(wanted, imagined_sources(*range(8)), other)
    assert len(fetch.units) == 8
    assert all(unit.again for unit in fetch.units), "whatever storage holds"
    back = record_download(wanted, imagined_sources(*range(8)), other, imagined_outcomes(fetch.units))
    assert not any(entry.dropped for entry in back.videos.values())
    assert len(plan_track(back, other).units) == 8


def test_a_source_of_two_lists_is_retired_when_neither_names_it(first: Version) -> None:
    both, _ = _run(first, imagined_sources(*range(8), origin="other.txt"), CONFIG)
    one, _ = _run(both, imagined_sources(*range(7)), CONFIG)
    assert not any(entry.removed for entry in one.sources.values()), "the other list names it"
    neither, _ = _run(one, imagined_sources(*range(7), origin="other.txt"), CONFIG)
    assert [entry.location for entry in neither.sources.values() if entry.removed] == ["https://videos.example/7.mp4"]


def test_a_run_retires_only_what_it_planned_to(first: Version) -> None:
    """The list grew while a run that had read it before was under way."""
    old, grown = imagined_sources(*range(8)), imagined_sources(*range(9))
    left_out = plan_download(first, old, CONFIG).removed
    other, _ = _run(first, grown, CONFIG)
    assert not any(entry.removed for entry in record_download(other, old, CONFIG, {}, left_out).sources.values())


def test_a_run_without_a_list_revives_nothing(first: Version) -> None:
    known = known_sources(first)
    retired, _ = _run(first, imagined_sources(*range(7)), CONFIG)
    after = record_download(retired, known, CONFIG, {})
    assert sum(bool(entry.removed) for entry in after.sources.values()) == 1


def test_a_failed_fetch_of_a_dropped_video_ends_the_asking(first: Version) -> None:
    given = imagined_sources(*range(8))
    other = CONFIG.model_copy(update={"track": CONFIG.track.model_copy(update={"fb_threshold_px": 0.3})})
    wanted = want_again(drop_tracked(first, first.videos), first.videos)
    units = plan_download(wanted, given, other).units
    failure = Failure("download", "permanent", "not_found", "404", 1, "now")
    failed = {units[0].key: Outcome(units[0].item, units[0].key, failure=failure)}
    version = record_download(wanted, given, other, failed | imagined_outcomes(units[1:]))
    plan = plan_track(version, other)
    assert (len(plan.units), len(plan.wanting), len(plan.failures or {})) == (7, 0, 1)


def test_a_copy_of_a_retired_video_joins_its_group(first: Version) -> None:
    retired, _ = _run(first, imagined_sources(*range(7)), CONFIG)
    gone = retired.videos[imagined_video(7)]
    twin = imagined_video(50)
    given = imagined_sources(*range(7), 50)
    fetched = record_download(retired, given, CONFIG, imagined_outcomes(plan_download(retired, given, CONFIG).units))
    copied = replace(fetched, videos={**fetched.videos, twin: replace(gone, key="k", group="", split=None)})
    videos = plan_shard(copied, CONFIG).videos
    assert (videos[twin].group, videos[twin].split) == (gone.group, gone.split)


def test_a_new_video_without_tracks_makes_nothing_after_it_run(first: Version) -> None:
    given = imagined_sources(*range(9))
    fetched = record_download(first, given, CONFIG, imagined_outcomes(plan_download(first, given, CONFIG).units))
    (unit,) = plan_track(fetched, CONFIG).units
    empty = Outcome(unit.item, unit.key, counts={"tracks": 0}, facts={"signature": ["f" * 16]})
    version = record_track(fetched, {unit.key: empty}, [unit.document.recipe])
    shard = plan_shard(version, CONFIG)
    assert shard_stage(shard).units == ()
    assert plan_train(record_shard(version, shard, {}), CONFIG).units == ()


def test_what_is_left_of_a_data_set_decides_about_training(first: Version) -> None:
    alone, _ = _run(first, imagined_sources(0), CONFIG)
    plan = plan_train(alone, CONFIG)
    assert plan.units == ()
    assert "two different videos" in plan.note
    assert counts_of(alone)["videos"] == 1


def test_training_on_labelled_images_rests_on_them_alone(first: Version, tmp_path: Path) -> None:
    images = write_shapes(tmp_path / "images", images=2)
    train = TrainConfig(objective="supervised", images=str(images))
    config = CONFIG.model_copy(update={"train": train})
    (unit,) = plan_train(Version("new"), config).units
    assert unit.document.inputs.keys() == {"images"}
    assert (unit.item, unit.arguments) == ("small, supervised", ("", train))
    assert plan_train(first, config).units[0].key == unit.key
    trained, _ = _run(first, imagined_sources(*range(8)), config)
    assert plan_train(trained, config).cached
    _, ran = _run(trained, imagined_sources(*range(10)), config)
    assert {stage for stage, _ in ran} == {"download", "track", "shard", "evaluate"}, "new videos are measured on"
    moved = config.model_copy(update={"train": train.model_copy(update={"images": str(tmp_path / "moved")})})
    images.rename(tmp_path / "moved")
    assert plan_train(trained, moved).cached
    with pytest.raises(ValueError, match=r"train.images: .* is no folder"):
        plan_train(trained, config)
    assert plan_evaluate(Version("new", units={"train": trained.units["train"]}), moved).note.startswith("needs tracks")


def test_detection_waits_for_its_proposals_and_finds_them_again(first: Version, tmp_path: Path) -> None:
    given = imagined_sources(*range(8))
    asked = {"benchmarks": ("retrieval", "detection"), "voc": str(make_voc(tmp_path / "voc", 3, 2))}
    config = CONFIG.model_copy(update={"evaluate": CONFIG.evaluate.model_copy(update=asked)})
    plan = plan_evaluate(first, config)
    assert [unit.item for unit in plan.units] == ["trainval, part 1", "test, part 1", "detection", "report"]
    proposals, detection = plan.units[:2], plan.units[2]
    assert detection.document.inputs["proposals"] == [unit.key for unit in proposals]
    assert [unit_name(unit) for unit in proposals] == ["proposals/trainval, part 1", "proposals/test, part 1"]
    done, _ = _run(first, given, config)
    assert plan_evaluate(done, config).is_idle
    longer = config.evaluate.model_copy(update={"detection_steps": 5})
    again = plan_evaluate(done, config.model_copy(update={"evaluate": longer}))
    assert [unit.item for unit in again.units] == ["detection", "report"]
    assert set(again.cached) >= {"trainval, part 1", "test, part 1"}


def test_planning_imports_nothing_heavy() -> None:
    program = "import sys, flows.cli, flows.running; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    heavy = ("prefect", "torch", "cv2", "av", "yt_dlp", "sklearn", "matplotlib")
    done = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
