"""The Prefect task of the download stage."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.root import Root
from tasks.batch import Intake, Outcome, Unit, run_batch
from tasks.pool import WorkerPool
from tasks.records import Progress


@task(name="download batch", task_run_name="download {label}", cache_policy=NO_CACHE, persist_result=False)
def download_batch(
    label: str, pool: WorkerPool, root: Root, units: Sequence[Unit], progress: Progress, intake: Intake
) -> list[Outcome]:
    """Fetch one batch of sources over worker processes, as far as the intake lets them."""
    return run_batch(pool, root, units, progress, intake)
