"""The track flow: videos to tracks."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, RootUrl
from flows.plan import plan_track, record_track
from flows.stage import finish, open_run, run_batches
from tasks.track.task import track_batch


@flow(name="track", flow_run_name="track {dataset}", persist_result=False)
@form("track", "execution")
def track(root: RootUrl, dataset: Dataset = "default", **fields: Any) -> dict[str, Any]:
    """Follow moving patches through every downloaded video that has no tracks yet."""
    run = open_run("track", root, dataset, fields)
    plan = plan_track(run.version, run.config)
    outcomes = run_batches(run, plan, track_batch)
    run.record(lambda version: record_track(version, outcomes))
    return finish(run, plan, outcomes)
