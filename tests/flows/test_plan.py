"""The planner: what runs, what is cached, and what a change redoes. No work is done here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

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
    record_download,
    record_shard,
    record_track,
    record_units,
)
from storage.versions import Failure, Version
from tasks.batch import Outcome, Unit
from tasks.download.sources import Source, source_at
from tasks.presets import RunConfig, sample

CONFIG = sample()


def _sources(*numbers: int) -> list[Source]:
    return [source_at(f"https://videos.example/{n}.mp4") for n in numbers]


def _video(location: str) -> str:
    return f"{int(location.rsplit('/', 1)[1].removesuffix('.mp4')):064x}"


def _done(unit: Unit) -> Outcome:
    """What the unit's work would have told."""
    if unit.document.stage == "download":
        return Outcome(unit.item, unit.key, facts={"video": _video(unit.item)})
    if unit.document.stage == "track":
        signature = [
            f"{(int(unit.item, 16) + 1) * 0x9E3779B97F4A7C15 * (frame + 1) % 2**64:016x}" for frame in range(8)
        ]
        return Outcome(unit.item, unit.key, counts={"tracks": 5}, facts={"signature": signature})
    return Outcome(unit.item, unit.key, counts={"pairs": 5})


def _outcomes(units: Sequence[Unit]) -> dict[str, Outcome]:
    return {unit.key: _done(unit) for unit in units}


def _run(version: Version, sources: Sequence[Source], config: RunConfig) -> tuple[Version, list[tuple[str, str]]]:
    """Run every stage with stubbed work; returns the version and the (stage, item) of every unit that ran."""
    ran: list[tuple[str, str]] = []
    plan = plan_download(version, sources, config)
    version = record_download(version, sources, config, _outcomes(plan.units))
    ran += [("download", unit.item) for unit in plan.units]
    plan = plan_track(version, config)
    version = record_track(version, _outcomes(plan.units))
    ran += [("track", unit.item) for unit in plan.units]
    shard = plan_shard(version, config)
    version = record_shard(version, shard, _outcomes(shard.stage.units), shard.triplets.key if shard.triplets else None)
    ran += [("shard", unit.item) for unit in shard.stage.units]
    ran += [("shard", "triplets")] if shard.triplets else []
    plan = plan_train(version, config)
    for unit in plan.units:
        version = record_units(version, {"train": unit.key})
        ran.append(("train", unit.item))
    plan = plan_evaluate(version, config)
    version = record_units(version, {f"evaluate/{unit.item}": unit.key for unit in plan.units})
    ran += [("evaluate", unit.item) for unit in plan.units]
    return version, ran


@pytest.fixture(scope="module")
def first() -> Version:
    return _run(Version("night"), _sources(*range(8)), CONFIG)[0]


def test_a_second_run_does_nothing(first: Version) -> None:
    again, ran = _run(first, _sources(*range(8)), CONFIG)
    assert ran == []
    assert again == first
    plans = plan_run(first, _sources(*range(8)), CONFIG)
    assert is_done(plans)
    assert not any(plan.units for plan in plans)


def test_an_empty_data_set_is_not_done() -> None:
    assert not is_done(plan_run(Version("new"), [], CONFIG))


def test_new_sources_run_alone(first: Version) -> None:
    grown, ran = _run(first, _sources(*range(10)), CONFIG)
    assert [item for stage, item in ran if stage == "track"] == [f"{n:064x}" for n in (8, 9)]
    assert {stage for stage, _ in ran} == {"download", "track", "shard", "train", "evaluate"}
    old = {shard.key for shard in first.shards}
    assert old <= {shard.key for shard in grown.shards}, "no old shard is packed again"
    assert sum(len(shard.tracks) for shard in grown.shards) == 10


def test_one_video_under_two_urls_is_tracked_once() -> None:
    sources = [source_at("https://a.example/3.mp4"), source_at("https://b.example/3.mp4")]
    version, ran = _run(Version("twins"), sources, CONFIG)
    assert [stage for stage, _ in ran].count("download") == 2
    assert [stage for stage, _ in ran].count("track") == 1
    assert len(version.videos) == 1


@pytest.mark.parametrize(
    ("field", "stages"),
    [
        ({"download": {"retries": 9}}, set()),
        ({"download": {"max_height_px": 240}}, {"download"}),
        ({"track": {"fb_threshold_px": 0.3}}, {"track", "shard", "train", "evaluate"}),
        ({"shard": {"jpeg_quality": 80}}, {"shard", "train", "evaluate"}),
        ({"train": {"steps": 7}}, {"train", "evaluate"}),
        ({"train": {"checkpoint_every_steps": 7}}, set()),
        ({"evaluate": {"bootstrap_samples": 200}}, {"evaluate"}),
        ({"execution": {"workers": 1, "batch_units": 1, "device": "cpu"}}, set()),
    ],
)
def test_a_changed_field_redoes_its_stage_and_what_follows(
    first: Version, field: dict[str, dict[str, object]], stages: set[str]
) -> None:
    document = CONFIG.model_dump()
    for section, values in field.items():
        document[section] |= values
    _, ran = _run(first, _sources(*range(8)), RunConfig.model_validate(document))
    assert {stage for stage, _ in ran} == stages


def _failing(version: Version, kind: str) -> Version:
    source = _sources(1)[0]
    plan = plan_download(version, [source], CONFIG)
    failure = Failure("download", kind, "why", "words", 1, "now")  # type: ignore[arg-type]
    outcome = Outcome(source.location, plan.units[0].key, failure=failure)
    return record_download(version, [source], CONFIG, {outcome.key: outcome})


@pytest.mark.parametrize(("kind", "tried_again"), [("permanent", False), ("poison", False), ("transient", True)])
def test_only_transient_failures_are_tried_again(kind: str, tried_again: bool) -> None:
    version = _failing(Version("bad"), kind)
    plan = plan_download(version, _sources(1), CONFIG)
    assert bool(plan.units) is tried_again
    assert list(all_failures(version)) == ["https://videos.example/1.mp4"]


def test_attempts_add_up() -> None:
    version = _failing(_failing(Version("bad"), "transient"), "transient")
    (failure,) = all_failures(version).values()
    assert failure.attempts == 2


def test_recording_onto_a_newer_version_loses_nothing(first: Version) -> None:
    sources = _sources(20)
    plan = plan_download(first, sources, CONFIG)
    other = replace(first, sources={**first.sources, **record_download(first, _sources(30), CONFIG, {}).sources})
    merged = record_download(other, sources, CONFIG, _outcomes(plan.units))
    assert set(merged.sources) == {*first.sources, *(source.id for source in sources)}


def test_planning_imports_nothing_heavy() -> None:
    program = "import sys, flows.cli, flows.running; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    heavy = ("prefect", "torch", "cv2", "av", "yt_dlp", "sklearn", "matplotlib")
    done = subprocess.run([sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
