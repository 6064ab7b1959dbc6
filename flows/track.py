"""The track flow: videos to tracks."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.deployed import keep_summary
from flows.forms import form
from flows.parameters import Dataset, Force, Only, OnlyFailed, RootUrl
from flows.plan import plan_track
from flows.record import record_track, want_again
from flows.retention import drop_videos
from flows.selection import videos_of
from flows.stage import finish, open_run, run_batches, told
from tasks.track.task import track_batch


@flow(name="track", flow_run_name="track {dataset}", persist_result=False)
@form("track", "execution")
def track(
    root: RootUrl,
    dataset: Dataset = "default",
    only: Only = "",
    only_failed: OnlyFailed = False,
    force: Force = False,
    **fields: Any,
) -> dict[str, Any]:
    """Follow moving patches through every downloaded video that has no tracks yet."""
    with open_run("track", root, dataset, fields, force=force, only=only) as run:
        videos = videos_of(run.version, only, run.config.execution.batch_units)
        plan = plan_track(run.version, run.config, videos, only_failed=only_failed)
        outcomes = run_batches(run, plan, track_batch)
        recipes = [unit.document.recipe for unit in plan.units[:1]]
        run.record(lambda version: record_track(version, outcomes, recipes), told(outcomes))
        if plan.wanting:
            note = f"{len(plan.wanting)} dropped videos are wanted again"
            run.record(lambda version: want_again(version, plan.wanting), note)
        if run.config.execution.keep_videos == "until_tracked":
            drop_videos(run)
        return keep_summary(run.root, finish(run, plan, outcomes) | {"wanting": len(plan.wanting)})
