"""Whole runs with stubbed work: the planner and the recorder alone, no file and no Prefect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from flows.plan import (
    StagePlan,
    plan_download,
    plan_evaluate,
    plan_shard,
    plan_track,
    plan_train,
    shard_stage,
    unit_name,
)
from flows.record import record_download, record_shard, record_track, record_units, unit_entry
from flows.selection import SourceList
from storage.versions import Version
from tasks.batch import Outcome, Unit
from tasks.download.sources import source_at
from tasks.presets import RunConfig, sample


def chosen(config: RunConfig | None = None) -> RunConfig:
    """A configuration (the sample's) as a run has it once its estimator is chosen."""
    config = config or sample()
    return config.model_copy(update={"track": config.track.model_copy(update={"estimator": "klt"})})


def imagined_sources(*numbers: int, origin: str = "list.txt") -> SourceList:
    """Sources by number; each gives a video of its own."""
    return SourceList([source_at(f"https://videos.example/{n}.mp4") for n in numbers], origin)


def imagined_video(number: int) -> str:
    """The digest of the video that a source gives; its bytes are its number."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def imagined_outcome(unit: Unit) -> Outcome:
    """What the unit's work would have told."""
    if unit.document.stage == "download":
        number = int(unit.item.rsplit("/", 1)[1].removesuffix(".mp4"))
        return Outcome(unit.item, unit.key, facts={"video": imagined_video(number)})
    if unit.document.stage == "track":
        signature = [
            f"{(int(unit.item, 16) + 1) * 0x9E3779B97F4A7C15 * (frame + 1) % 2**64:016x}" for frame in range(8)
        ]
        return Outcome(unit.item, unit.key, counts={"tracks": 5}, facts={"signature": signature})
    return Outcome(unit.item, unit.key, counts={"pairs": 5})


def imagined_outcomes(units: Sequence[Unit]) -> dict[str, Outcome]:
    return {unit.key: imagined_outcome(unit) for unit in units}


def imagined_run(
    version: Version, given: SourceList, config: RunConfig, after_track: Callable[[Version], Version] = lambda v: v
) -> tuple[Version, list[StagePlan]]:
    """Run every stage; returns the version after it and each stage's plan. `after_track` may change it in between."""
    download = plan_download(version, given, config)
    version = record_download(version, given, config, imagined_outcomes(download.units), download.removed, "now")
    track = plan_track(version, config)
    recipes = [unit.document.recipe for unit in track.units[:1]]
    version = record_track(version, imagined_outcomes(track.units), recipes)
    version = after_track(version)
    shard = plan_shard(version, config)
    version = record_shard(version, shard, imagined_outcomes(shard_stage(shard).units))
    train = plan_train(version, config)
    version = record_units(version, {unit.document.stage: unit_entry(imagined_outcome(unit)) for unit in train.units})
    evaluate = plan_evaluate(version, config)
    done = {unit_name(unit): unit_entry(imagined_outcome(unit)) for unit in evaluate.units}
    version = record_units(version, done)
    return version, [download, track, shard_stage(shard), train, evaluate]


def ran(plans: Sequence[StagePlan]) -> list[tuple[str, str]]:
    """(stage, item) of every unit that ran."""
    return [(plan.stage, unit.item) for plan in plans for unit in plan.units]
