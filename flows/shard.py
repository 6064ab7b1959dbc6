"""The shard flow: tracks to shards and the triplet index."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, RootUrl
from flows.plan import plan_shard, record_shard
from flows.stage import Run, finish, open_run, run_batches
from storage.versions import Version
from tasks.shard.task import shard_batch


@flow(name="shard", flow_run_name="shard {dataset}", persist_result=False)
@form("shard", "seed", "execution")
def shard(root: RootUrl, dataset: Dataset = "default", **fields: Any) -> dict[str, Any]:
    """Split the videos, pack the tracks that are in no shard yet, and index the triplets of all shards."""
    run = open_run("shard", root, dataset, fields)
    while True:
        try:
            return _shard_version(run)
        except _Moved as moved:  # another run recorded videos meanwhile: the index must cover them too
            run.version = moved.version


def _shard_version(run: Run) -> dict[str, Any]:
    plan = plan_shard(run.version, run.config)
    outcomes = run_batches(run, plan.stage, shard_batch)
    if plan.triplets is not None:
        index = replace(plan.stage, units=(plan.triplets,), cached=())
        indexed = run_batches(run, index, shard_batch)
        outcomes |= indexed
    planned = run.version

    def change(version: Version) -> Version:
        if version != planned:
            raise _Moved(version)
        return record_shard(version, plan, outcomes, plan.triplets.key if plan.triplets else None)

    run.record(change)
    return finish(run, plan.stage, outcomes)


class _Moved(Exception):
    def __init__(self, version: Version) -> None:
        super().__init__(version.number)
        self.version = version
