"""Nights with stubbed work on a real root: versions and manifests as the stages would leave them, and no Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.deployed import Summary
from flows.estimator import with_estimator
from flows.forms import unflatten
from flows.plan import plan_download, plan_evaluate, plan_shard, plan_track, plan_train, shard_stage, unit_name
from flows.record import record_download, record_shard, record_track, record_units, unit_entry
from storage.keys import JSON
from storage.manifests import commit
from storage.root import Root, open_root
from storage.versions import Failure, Version, latest_version, update_version
from tasks.batch import Outcome, Unit
from tests.flows.imagined import imagined_outcome, imagined_sources

TRACKS, SECONDS = 5, 30.0  # of every video
_clock = iter(range(1_000_000))


@dataclass
class Web:
    """What the sources offer: numbers of those that the list names; those that are `dead`, and those that no decoder
    reads. `calls`: how the stages were asked for."""

    named: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    def run_stages(
        self,
        root: str,
        dataset: str,
        sources: str,
        fields: Mapping[str, Any],
        *,
        only: str = "",
        expand: bool = False,
        left_out: Callable[[], Mapping[str, str]] = dict,
        children: object = None,
    ) -> Iterator[Summary]:
        """Stands for `flows.stages.run_stages`."""
        assert children is None, "nothing is deployed here"
        self.calls.append({"only": only, "expand": expand, "sources": sources})
        opened = open_root(root)
        config = with_estimator(opened, dataset, unflatten(fields))
        version = latest_version(opened, dataset)
        given = imagined_sources(*sorted(self.named))
        plan = plan_download(version, given, config)
        outcomes = {unit.key: self._outcome(unit) for unit in plan.units}
        version = update_version(
            opened, dataset, lambda v: record_download(v, given, config, outcomes, plan.removed, "now"), "download"
        )
        yield _summary("download", version, outcomes.values())
        plan = plan_track(version, config)
        tracked = {unit.key: self._outcome(unit) for unit in plan.units}
        _commit(opened, plan.units, tracked, {"seconds": SECONDS})
        version = update_version(opened, dataset, lambda v: record_track(v, tracked), "track")
        yield _summary("track", version, tracked.values())
        shards = plan_shard(version, config)
        packed = {unit.key: self._outcome(unit) for unit in shard_stage(shards).units}
        version = update_version(opened, dataset, lambda v: record_shard(v, shards, packed), "shard")
        yield _summary("shard", version, packed.values())
        notes = left_out()
        for stage, make in (("train", plan_train), ("evaluate", plan_evaluate)):
            plan = make(latest_version(opened, dataset), config)
            done = {unit.key: self._outcome(unit) for unit in plan.units if stage not in notes}
            _commit(opened, plan.units, done, {"dataset": dataset, "version": version.number})
            units = {unit_name(unit): unit_entry(done[unit.key]) for unit in plan.units if unit.key in done}
            update_version(opened, dataset, lambda v, units=units: record_units(v, units), stage)  # type: ignore[misc]
            yield _summary(stage, version, done.values(), notes.get(stage, ""))

    def _outcome(self, unit: Unit) -> Outcome:
        match unit.document.stage:
            case "download":
                number = int(unit.item.rsplit("/", 1)[1].removesuffix(".mp4"))
                return self._failed(unit, "gone") if number in self.dead else imagined_outcome(unit)
            case "track":
                videos = {imagined_outcome(one).facts["video"] for one in _units_of(self.unreadable)}
                return self._failed(unit, "unreadable") if unit.item in videos else imagined_outcome(unit)
            case "shard" if "tracks" in unit.document.inputs:
                tracks = unit.document.inputs["tracks"]
                assert isinstance(tracks, (list, tuple))
                return Outcome(unit.item, unit.key, counts={"pairs": TRACKS * len(tracks)})
        return Outcome(unit.item, unit.key, counts={"pairs": 0})

    def _failed(self, unit: Unit, reason: str) -> Outcome:
        failure = Failure(unit.document.stage, "transient", reason, f"try {next(_clock)}")
        return Outcome(unit.item, unit.key, failure=failure)


def _units_of(numbers: Iterable[int]) -> tuple[Unit, ...]:
    return plan_download(Version("any"), imagined_sources(*numbers), unflatten({})).units


def _commit(root: Root, units: Iterable[Unit], done: Mapping[str, Outcome], facts: Mapping[str, JSON]) -> None:
    for unit in units:
        outcome = done.get(unit.key)
        if outcome and not outcome.failure:
            commit(root, unit.document, {"output.bin": b"output"}, counts=outcome.counts, facts=facts)


def _summary(stage: str, version: Version, outcomes: Iterable[Outcome], note: str = "") -> Summary:
    failed = [outcome.failure is not None for outcome in outcomes]
    numbers = {"committed": failed.count(False), "cached": 0, "failed": failed.count(True), "seconds": 1.5}
    head = {"stage": stage, "dataset": version.name, "version": version.number}
    return {**head, **numbers, "counts": {}, "note": note, "pending": 0, "wanting": 0}
