"""The whole DAG: download, track, shard, train, evaluate, each its own flow."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.download import download
from flows.evaluate import evaluate
from flows.forms import form, select
from flows.parameters import Dataset, Only, RootUrl, Sources
from flows.shard import shard
from flows.track import track
from flows.train import train

STAGES = ("download", "track", "shard", "train", "evaluate")


@flow(name="pipeline", flow_run_name="pipeline {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def pipeline(
    root: RootUrl, dataset: Dataset = "default", sources: Sources = "", only: Only = "", **fields: Any
) -> list[dict[str, Any]]:
    """Run every stage in order; each does what is missing and leaves the rest alone."""
    where: dict[str, Any] = {"root": root, "dataset": dataset}
    fetch = {**where, "sources": sources, "only": only, **select(fields, "download", "execution")}
    follow = {**where, "only": only, **select(fields, "track", "execution")}
    summaries = [download(**fetch), track(**follow)]
    if summaries[-1]["wanting"]:  # bytes that were dropped once tracked are needed again
        summaries += [download(**fetch), track(**follow)]
    return [
        *summaries,
        shard(**where, **select(fields, "shard", "seed", "execution")),
        train(**where, **select(fields, "train", "seed", "execution")),
        evaluate(**where, **select(fields, "evaluate", "seed", "execution")),
    ]
