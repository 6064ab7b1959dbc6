"""The Prefect task of the evaluate stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.root import Root
from tasks.batch import Outcome, Unit, run_unit
from tasks.records import Progress


@task(name="evaluate unit", task_run_name="evaluate {label}", cache_policy=NO_CACHE, persist_result=False)
def evaluate_unit(label: str, root: Root, unit: Unit, device: str, progress: Progress) -> Outcome:
    """Run one benchmark, or write the report."""
    return run_unit(root, unit, device=device, progress=progress)
