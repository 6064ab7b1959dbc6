"""The stages without Prefect: `python -m tests.chaos.stage STAGE ... --root URL --sources FOLDER [--set FIELD=VALUE]`.

Plans with the product's planner, runs units as the flows' tasks do, and records the version as the flows do.
Heavy imports stay inside functions: spawned workers import this module again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.description import Description
    from storage.leases import Lease
    from storage.root import Root
    from storage.versions import Version
    from tasks.batch import Outcome, Unit
    from tasks.pool import WorkerPool
    from tasks.presets import RunConfig

STAGES = ("download", "track", "shard", "train", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named stages in the order given; returns the exit code."""
    from flows.description import describe_run
    from tasks.pool import WorkerPool

    parser = argparse.ArgumentParser(prog="tests.chaos.stage", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--root", required=True)
    parser.add_argument("--dataset", default="default")
    parser.add_argument("--sources", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="FIELD=VALUE")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    description = describe_run(root=given.root, dataset=given.dataset, sources=given.sources, overrides=given.overrides)
    with WorkerPool(description.config.execution.workers) as pool:
        for stage in given.stages:
            run_stage(stage, description, pool)
    return 0


def run_stage(stage: str, description: Description, pool: WorkerPool) -> None:
    """Do what is committed upstream and missing here, and record it in the next version."""
    from storage.leases import Lease
    from storage.root import open_root

    root = open_root(description.root)
    with Lease(root, "run", {"stage": stage, "dataset": description.dataset}) as lease:
        _RUNS[stage](_Run(root, description, lease, pool))


@dataclass
class _Run:
    """One stage's run; `ran_out` says what did (a disk), where units were left for later."""

    root: Root
    description: Description
    lease: Lease
    pool: WorkerPool
    ran_out: str = ""

    @property
    def config(self) -> RunConfig:
        return self.description.config

    def latest(self) -> Version:
        from storage.versions import latest_version

        return latest_version(self.root, self.description.dataset)

    def record(self, change: Callable[[Version], Version]) -> None:
        from storage.versions import update_version

        update_version(self.root, self.description.dataset, change)

    def run_batches(self, units: Sequence[Unit]) -> dict[str, Outcome]:
        """Units over worker processes; outcomes by key, of those that were not left for later."""
        from tasks.batch import run_batch

        self.lease.protect(unit.key for unit in units)
        outcomes = run_batch(self.pool, self.root, units)
        self.ran_out = next((outcome.pending for outcome in outcomes if outcome.pending), self.ran_out)
        return {outcome.key: outcome for outcome in outcomes if not outcome.pending}

    def require_all(self) -> None:
        """Raise Paused where units were left for later."""
        from tasks.records import Paused

        if self.ran_out:
            raise Paused(self.ran_out)

    def run_singles(self, units: Sequence[Unit]) -> dict[str, Outcome]:
        """Units in this process's main thread, one after the other; outcomes by key."""
        from tasks.batch import run_unit

        self.lease.protect(unit.key for unit in units)
        return {unit.key: run_unit(self.root, unit, device=self.config.execution.device) for unit in units}


def _download(run: _Run) -> None:
    from flows.plan import plan_download
    from flows.record import record_download
    from flows.sources import read_list

    given = read_list(run.description.sources)
    outcomes = run.run_batches(plan_download(run.latest(), given, run.config).units)
    run.record(lambda version: record_download(version, given, run.config, outcomes))
    run.require_all()


def _track(run: _Run) -> None:
    from flows.plan import plan_track
    from flows.record import record_track

    units = plan_track(run.latest(), run.config).units
    outcomes = run.run_batches(units)
    run.record(lambda version: record_track(version, outcomes, [unit.document.recipe for unit in units[:1]]))
    run.require_all()


def _shard(run: _Run) -> None:
    from flows.plan import plan_shard
    from flows.record import record_shard

    plan = plan_shard(run.latest(), run.config)
    outcomes = run.run_batches(plan.stage.units)
    outcomes |= run.run_batches([plan.triplets] if plan.triplets and not run.ran_out else [])
    run.require_all()
    run.record(lambda version: record_shard(version, plan, outcomes))


def _train(run: _Run) -> None:
    from flows.plan import plan_train
    from flows.record import record_units, unit_entry

    outcomes = run.run_singles(plan_train(run.latest(), run.config).units)
    for outcome in outcomes.values():
        run.record(partial(record_units, units={"train": unit_entry(outcome)}))


def _evaluate(run: _Run) -> None:
    from flows.plan import plan_evaluate, unit_name
    from flows.record import record_units, unit_entry

    plan = plan_evaluate(run.latest(), run.config)
    names, outcomes = {unit.key: unit_name(unit) for unit in plan.units}, run.run_singles(plan.units)
    units = {names[key]: unit_entry(outcome) for key, outcome in outcomes.items()}
    run.record(lambda version: record_units(version, units))


_RUNS: Mapping[str, Callable[[_Run], None]] = {
    "download": _download,
    "track": _track,
    "shard": _shard,
    "train": _train,
    "evaluate": _evaluate,
}


if __name__ == "__main__":
    sys.exit(main())
