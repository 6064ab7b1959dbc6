"""The shard flow: tracks to shards and the triplet index."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.deployed import keep_summary
from flows.forms import form
from flows.parameters import Dataset, Force, RootUrl
from flows.plan import StageFailed, plan_shard
from flows.record import record_shard
from flows.stage import Run, finish, open_run, run_batches, told
from storage.versions import Version
from tasks.shard.task import shard_batch


@flow(name="shard", flow_run_name="shard {dataset}", persist_result=False)
@form("shard", "seed", "execution")
def shard(root: RootUrl, dataset: Dataset = "default", force: Force = False, **fields: Any) -> dict[str, Any]:
    """Split the videos, pack the tracks that are in no shard yet, and index the triplets of all shards."""
    with open_run("shard", root, dataset, fields, force=force) as run:
        while True:
            try:
                return keep_summary(run.root, _shard_version(run))
            except _Moved as moved:  # the index must cover what the version holds now
                run.version = moved.version


def _shard_version(run: Run) -> dict[str, Any]:
    plan = plan_shard(run.version, run.config)
    outcomes = run_batches(run, plan.stage, shard_batch)
    if run.pending:  # no shard is named before it is there: the next run finds those that are
        return finish(run, plan.stage, outcomes)
    if failed := [outcome for outcome in outcomes.values() if outcome.failure]:
        finish(run, plan.stage, outcomes)
        assert failed[0].failure is not None, "so it was chosen"
        words = f"{failed[0].item}: {failed[0].failure.reason}, {failed[0].failure.words}"
        raise StageFailed(f"shard: {len(failed)} of {len(outcomes)} shards failed ({words}); the others are committed")
    planned = run.version
    if any(outcome.accepted for outcome in outcomes.values()):
        # Other shards stand for some of these: the index goes by those.
        run.record(lambda version: record_shard(_unmoved(version, planned), plan, outcomes), told(outcomes))
        raise _Moved(run.version)
    if plan.triplets is not None:
        index = replace(plan.stage, units=(plan.triplets,), cached=())
        outcomes |= run_batches(run, index, shard_batch)
    run.record(lambda version: record_shard(_unmoved(version, planned), plan, outcomes), told(outcomes))
    return finish(run, plan.stage, outcomes)


def _unmoved(version: Version, planned: Version) -> Version:
    """The version, where it is the one that was planned on; otherwise another run recorded something meanwhile."""
    if version != planned:
        raise _Moved(version)
    return version


class _Moved(Exception):
    def __init__(self, version: Version) -> None:
        super().__init__(version.number)
        self.version = version
