"""The Prefect task of the train stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.root import Root
from tasks.batch import Outcome, Unit, run_unit
from tasks.records import Progress


@task(name="train unit", task_run_name="train {label}", cache_policy=NO_CACHE, persist_result=False)
def train_unit(label: str, root: Root, unit: Unit, device: str, progress: Progress) -> Outcome:
    """Train one network; called in the flow's main thread, so that a cancellation ends its processes."""
    return run_unit(root, unit, device=device, progress=progress)
