"""What every stage flow shares: open the run, run its units as Prefect tasks, record, publish, judge."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.again import forget, run_created
from flows.code import require_deployed_code
from flows.display import current_display
from flows.estimator import with_estimator
from flows.explain import explain_stage
from flows.forms import unflatten
from flows.ledger import Ledger
from flows.metrics import tell_progress
from flows.plan import StageFailed, StagePlan, judge
from flows.publishing import publish_outcomes, publish_report, publish_throughput
from flows.resolve import resolve_training
from flows.runner import seen_of, unit_pool
from storage.leases import Lease
from storage.root import Root, open_root
from storage.versions import Version, latest_version, update_version
from tasks.batch import InOrder, Intake, Outcome, Unit
from tasks.limits import Limits
from tasks.pool import WorkerPool
from tasks.presets import RunConfig
from tasks.records import Dropped, Paused, Progress
from tasks.usage import Meter

_log = logging.getLogger("flows.stage")
_SHOWN_CACHED = 200  # above this many, one row stands for all
_ARTIFACT_EVERY_SECONDS = 2.0
_UNITS_PER_WORKER = 8
_MAX_FILE_BYTES = 16 << 30  # of the largest file that a worker writes


@dataclass
class Run:
    """One stage flow's run: where, on what, how, and the newest version it stands on.

    `lease` tells `gc` and `fsck` that it lives, and names the units that it is about to make or use. `ledger` takes
    what its units cost. `pending`: the number of units left for a later run, by what ran out.
    """

    stage: str
    root: Root
    dataset: str
    config: RunConfig
    version: Version
    lease: Lease
    ledger: Ledger
    started: float
    pending: Counter[str] = field(default_factory=Counter)

    def record(self, change: Callable[[Version], Version], note: str = "") -> None:
        """Make the next version. `change` is pure; `note` says what the version brings."""
        words = f"{self.stage}: {note}" if note else self.stage
        self.version = update_version(self.root, self.dataset, change, words, self.version)


@contextmanager
def open_run(
    stage: str,
    root: str,
    dataset: str,
    fields: Mapping[str, Any],
    *,
    force: bool = False,
    sources: str = "",
    only: str = "",
) -> Iterator[Run]:
    """Open the root, take a lease on it and read the newest version. Raises RootError or ValueError with one line.

    `force`: what the stage holds from before this flow run is forgotten first; `only`, of `sources`, a part of it.
    """
    require_deployed_code()
    started, opened = time.monotonic(), open_root(root)
    config = resolve_training(opened, unflatten(fields))
    if stage not in ("download", "shard"):  # the estimator is chosen by the machine that tracks first
        config = with_estimator(opened, dataset, config)
    holder = {"stage": stage, "dataset": dataset}
    with Lease(opened, "run", holder) as lease, Ledger(opened, stage, dataset) as ledger:
        lease.wait_for_collectors()  # one at work now may change what the newest version is
        if force:
            forget(opened, dataset, stage, fields, until=run_created(), sources=sources, only=only)
        yield Run(stage, opened, dataset, config, latest_version(opened, dataset), lease, ledger, started)


def begin(run: Run, plan: StagePlan) -> None:
    """Say what will run and why, in the log and as an artifact, and keep its units from being collected."""
    _log.info("%s: %s", plan.stage, describe(plan))
    explained = explain_stage(run.root, run.version, plan)
    rows = [
        {"what": reason.text, "units": reason.number, "for example": reason.example} for reason in explained.reasons
    ]
    create_table_artifact(
        table=[*rows, {"what": "cached", "units": len(plan.cached), "for example": ""}],
        key=f"{plan.stage}-plan",
        description=f"{plan.stage}: what will run on `{run.dataset}` version {run.version.number}, and why",
    )
    run.lease.protect(unit.key for unit in plan.units)


def run_batches(
    run: Run, plan: StagePlan, batch_task: Any, pool: WorkerPool | None = None, intake: Intake | None = None
) -> dict[str, Outcome]:
    """Run a plan's units over worker processes, one task run a batch; outcomes by key.

    `pool`: of `execution.workers` where it is None. `intake` says what may begin; what it keeps back makes no batch.
    What is left for later has no outcome, and is counted in `run.pending`.
    """
    begin(run, plan)
    progress, done = stage_progress(plan.stage, plan.total), len(plan.cached) + len(plan.failures or {})
    show_cached(plan)
    pool = pool or unit_pool(
        run.stage,
        run.config,
        run.config.execution.workers,
        unit_limits(run.config),
        seen=seen_of(run.root, run.lease.record.path),
    )
    intake = intake or InOrder()
    outcomes: dict[str, Outcome] = {}
    with pool:
        for label, units in _batches(run, plan, pool, intake):

            def report(batch_done: int, _total: int, note: str = "", before: int = done) -> None:
                progress(before + batch_done, plan.total, note)

            arguments = (quote(pool), quote(run.root), quote(units), quote(report), quote(intake))
            handed_out = time.time()
            ended = batch_task(label, *arguments, return_state=True).result()
            run.ledger.add(units, ended, handed_out, pool.workers)
            # Held to the end of the stage: with the strings of the plan, and without their cost, which the ledger has.
            outcomes |= {
                unit.key: replace(outcome, item=unit.item, key=unit.key, usage=None)
                for unit, outcome in zip(units, ended, strict=True)
                if not outcome.pending
            }
            run.pending.update(outcome.pending for outcome in ended if outcome.pending)
            done += sum(not outcome.pending for outcome in ended)
    progress(done, plan.total)
    return outcomes


def unit_limits(config: RunConfig) -> Limits:
    """What one worker process of a stage may use."""
    execution = config.execution
    return Limits(execution.unit_memory_bytes, execution.unit_cpu_seconds, 0.0, _MAX_FILE_BYTES)


def _batches(run: Run, plan: StagePlan, pool: WorkerPool, intake: Intake) -> Iterator[tuple[str, list[Unit]]]:
    """(label, units) of each batch, as long as the intake lets units through; the others are counted as pending.

    A batch ends with its slowest unit, so that one holds several units for each worker.
    """
    size = max(run.config.execution.batch_units, _UNITS_PER_WORKER * pool.workers)
    number, total, units = 0, -(-len(plan.units) // size), list[Unit]()
    for unit in (*plan.units, None):
        if unit is not None and (why := intake.left(unit)):
            run.pending[why] += 1
        elif unit is not None:
            units.append(unit)
        if units and (unit is None or len(units) == size):
            number += 1
            yield f"{run.dataset} {number:04}/{total:04}", units
            units = []


def run_singles(run: Run, plan: StagePlan, unit_task: Any) -> dict[str, Outcome]:
    """Run a plan's units one after the other in this process's main thread, where a cancellation reaches them.

    A Dropped is an outcome here too, but fails the stage, with one line: what reduces over a data set has no second
    item.
    """
    begin(run, plan)
    show_cached(plan)
    outcomes: dict[str, Outcome] = {}
    for unit in plan.units:
        progress = stage_progress(plan.stage, 0)
        arguments = (quote(run.root), quote(unit), run.config.execution.device, quote(progress))
        meter, handed_out = Meter(), time.time()
        state = unit_task(unit.item, *arguments, return_state=True)
        try:
            outcomes[unit.key] = run.ledger.add_single(unit, meter, handed_out, state)
        except (Dropped, Paused) as ended:
            raise StageFailed(f"{plan.stage}: {ended}") from ended
    return outcomes


def show_cached(plan: StagePlan) -> None:
    """A row in state Cached for every unit found committed, or one row for all where there are many."""
    items = plan.cached if len(plan.cached) <= _SHOWN_CACHED else (f"{len(plan.cached)} units",)
    for item in items:
        cached_unit(plan.stage, item[-80:], return_state=True)


@task(name="cached", task_run_name="{stage} {item}", cache_policy=NO_CACHE, persist_result=False)
def cached_unit(stage: str, item: str) -> State[None]:
    """A unit that storage holds already: no work, only the row."""
    return Completed(name="Cached", message="found committed in storage")


def finish(run: Run, plan: StagePlan, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Publish the table of outcomes, log the line that sums the stage up, and fail where too little was kept."""
    failures = {outcome.item: outcome.failure for outcome in outcomes.values() if outcome.failure}
    failures |= plan.failures or {}
    found = [outcome for outcome in outcomes.values() if outcome.cached and not outcome.failure]
    made = [outcome for outcome in outcomes.values() if not outcome.cached and not outcome.failure]
    counts = dict(sum((Counter(outcome.counts) for outcome in made), Counter[str]()))
    numbers = {"committed": len(made), "cached": len(plan.cached) + len(found), "failed": len(failures)}
    publish_outcomes(run.stage, run.dataset, numbers, run.pending, failures)
    publish_throughput(run.root, run.stage, run.dataset, time.monotonic() - run.started, outcomes.values())
    publish_report(run.root, run.version)
    _log.info("%s: %d committed, %d cached, %d failed", run.stage, *numbers.values())
    note = plan.note
    if run.pending:
        note = "; ".join(f"{number} left for later: {why}" for why, number in run.pending.most_common())
        _log.warning("%s: %s", run.stage, note)
        if run.stage != "download":  # intake may stop; what follows on it may not
            raise StageFailed(f"{run.stage}: {note}")
    judge(run.stage, numbers["committed"] + numbers["cached"], failures.values(), run.config)
    seconds = round(time.monotonic() - run.started, 1)
    head = {"stage": run.stage, "dataset": run.dataset, "version": run.version.number}
    return {**head, **numbers, "seconds": seconds, "counts": counts, "note": note, "pending": run.pending.total()}


def told(outcomes: Mapping[str, Outcome]) -> str:
    """What a version's note says of the units behind it."""
    failed_units = sum(outcome.failure is not None for outcome in outcomes.values())
    found = sum(outcome.cached and not outcome.failure for outcome in outcomes.values())
    numbers = {"committed": len(outcomes) - failed_units - found, "found committed": found, "failed": failed_units}
    return ", ".join(f"{number} {what}" for what, number in numbers.items() if number)


def describe(plan: StagePlan) -> str:
    """The plan in a few words."""
    parts = [f"{len(plan.units)} to run", f"{len(plan.cached)} cached"]
    for what in ("removed", "returned"):
        if sources := getattr(plan, what):
            parts.append(f"{len(sources)} sources {what}")
    if plan.failures:
        parts.append(f"{len(plan.failures)} failed for good")
    return ", ".join(parts) + (f" ({plan.note})" if plan.note else "")


def stage_progress(stage: str, total: int) -> Progress:
    """A bar in this process's display, and an artifact in the UI that is renewed every two seconds."""
    bar = current_display().stage(stage)
    artifact = create_progress_artifact(0.0, key=f"{stage}-progress", description=f"{stage}: share of units done")
    assert isinstance(artifact, UUID), "a coroutine only where the caller is asynchronous"
    last = 0.0

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        bar(done, total, note)
        tell_progress(stage, done, total)
        now = time.monotonic()
        if total and (now - last > _ARTIFACT_EVERY_SECONDS or done >= total):
            last = now
            update_progress_artifact(artifact, progress=100.0 * done / total)

    report(0, total)
    return report
