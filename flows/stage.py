"""What every stage flow shares: open the run, run its units as Prefect tasks, record, publish, judge."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.display import current_display
from flows.forms import unflatten
from flows.plan import StagePlan, judge
from storage.root import Root, open_root
from storage.versions import Version, latest_version, update_version
from tasks.batch import Outcome
from tasks.pool import WorkerPool
from tasks.presets import RunConfig
from tasks.records import Progress

_log = logging.getLogger("flows.stage")
_SHOWN_CACHED = 200  # above this many, one row stands for all
_ARTIFACT_EVERY_SECONDS = 2.0


@dataclass
class Run:
    """One stage flow's run: where, on what, how, and the newest version it stands on."""

    stage: str
    root: Root
    dataset: str
    config: RunConfig
    version: Version
    started: float

    def record(self, change: Callable[[Version], Version]) -> None:
        self.version = update_version(self.root, self.dataset, change)


def open_run(stage: str, root: str, dataset: str, fields: Mapping[str, Any]) -> Run:
    """Open the root and read the newest version. Raises RootError or ValueError with one line."""
    opened = open_root(root)
    return Run(stage, opened, dataset, unflatten(fields), latest_version(opened, dataset), time.monotonic())


def run_batches(run: Run, plan: StagePlan, batch_task: Any) -> dict[str, Outcome]:
    """Run a plan's units over worker processes, one task run a batch; outcomes by key."""
    _log.info("%s: %s", plan.stage, describe(plan))
    progress, done = stage_progress(plan.stage, plan.total), len(plan.cached) + len(plan.failures or {})
    show_cached(plan)
    outcomes: dict[str, Outcome] = {}
    size = run.config.execution.batch_units
    batches = [plan.units[start : start + size] for start in range(0, len(plan.units), size)]
    with WorkerPool(min(run.config.execution.workers, max(1, len(plan.units)))) as pool:
        for number, units in enumerate(batches, 1):

            def report(batch_done: int, _total: int, note: str = "", before: int = done) -> None:
                progress(before + batch_done, plan.total, note)

            label = f"{run.dataset} {number:04}/{len(batches):04}"
            arguments = (quote(pool), quote(run.root), quote(units), quote(report))
            state = batch_task(label, *arguments, return_state=True)
            outcomes |= {outcome.key: outcome for outcome in state.result()}
            done += len(units)
    progress(plan.total, plan.total)
    return outcomes


def run_singles(run: Run, plan: StagePlan, unit_task: Any) -> dict[str, Outcome]:
    """Run a plan's units one after the other in this process's main thread, where a cancellation reaches them.

    A Dropped is an outcome here too, but fails the stage: what reduces over a data set has no second item.
    """
    _log.info("%s: %s", plan.stage, describe(plan))
    show_cached(plan)
    outcomes: dict[str, Outcome] = {}
    for unit in plan.units:
        progress = stage_progress(plan.stage, 0)
        arguments = (quote(run.root), quote(unit), run.config.execution.device, quote(progress))
        state = unit_task(unit.item, *arguments, return_state=True)
        outcomes[unit.key] = state.result()
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
    rows = [{"outcome": name, "reason": "", "units": numbers[name]} for name in ("committed", "cached")]
    reasons = Counter((failure.kind, failure.reason) for failure in failures.values())
    rows += [{"outcome": kind, "reason": reason, "units": number} for (kind, reason), number in sorted(reasons.items())]
    create_table_artifact(
        table=rows, key=f"{run.stage}-outcomes", description=f"{run.stage}: outcomes of `{run.dataset}`"
    )
    if failures:
        create_table_artifact(
            table=[
                {"item": item, "class": failure.kind, "reason": failure.reason, "words": failure.words}
                for item, failure in sorted(failures.items())[:500]
            ],
            key=f"{run.stage}-failures",
            description=f"{run.stage}: what was dropped, and the tool's own words",
        )
    _log.info("%s: %d committed, %d cached, %d failed", run.stage, *numbers.values())
    judge(run.stage, numbers["committed"] + numbers["cached"], failures.values(), run.config)
    seconds = round(time.monotonic() - run.started, 1)
    head = {"stage": run.stage, "dataset": run.dataset, "version": run.version.number}
    return {**head, **numbers, "seconds": seconds, "counts": counts, "note": plan.note}


def describe(plan: StagePlan) -> str:
    """The plan in a few words."""
    parts = [f"{len(plan.units)} to run", f"{len(plan.cached)} cached"]
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
        now = time.monotonic()
        if total and (now - last > _ARTIFACT_EVERY_SECONDS or done >= total):
            last = now
            update_progress_artifact(artifact, progress=100.0 * done / total)

    report(0, total)
    return report
