"""The Prefect task of the evaluate stage."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.root import Root
from tasks.batch import Intake, Outcome, Unit, run_batch, run_unit
from tasks.pool import WorkerPool
from tasks.records import Progress


@task(name="evaluate unit", task_run_name="evaluate {label}", cache_policy=NO_CACHE, persist_result=False)
def evaluate_unit(label: str, root: Root, unit: Unit, device: str, progress: Progress) -> Outcome:
    """Run one benchmark, or write the report."""
    return run_unit(root, unit, device=device, progress=progress)


@task(name="proposals batch", task_run_name="proposals {label}", cache_policy=NO_CACHE, persist_result=False)
def proposals_batch(
    label: str, pool: WorkerPool, root: Root, units: Sequence[Unit], progress: Progress, intake: Intake
) -> list[Outcome]:
    """Find region proposals in many images over worker processes."""
    return run_batch(pool, root, units, progress, intake)
