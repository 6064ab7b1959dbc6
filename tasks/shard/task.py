"""The Prefect task of the shard stage."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.root import Root
from tasks.batch import Intake, Outcome, Unit, run_batch
from tasks.pool import WorkerPool
from tasks.records import Progress


@task(name="shard batch", task_run_name="shard {label}", cache_policy=NO_CACHE, persist_result=False)
def shard_batch(
    label: str, pool: WorkerPool, root: Root, units: Sequence[Unit], progress: Progress, intake: Intake
) -> list[Outcome]:
    """Pack one batch of shards over worker processes."""
    return run_batch(pool, root, units, progress, intake)
