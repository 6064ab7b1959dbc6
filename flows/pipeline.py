"""The whole DAG: download, track, shard, train, evaluate, each its own flow."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, Only, RootUrl, Sources
from flows.stages import STAGES, Summary, run_stages


@flow(name="pipeline", flow_run_name="pipeline {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def pipeline(
    root: RootUrl, dataset: Dataset = "default", sources: Sources = "", only: Only = "", **fields: Any
) -> list[Summary]:
    """Run every stage in order; each does what is missing and leaves the rest alone."""
    return list(run_stages(root, dataset, sources, fields, only=only))
