"""The whole DAG: download, track, shard, train, evaluate, each its own flow."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.again import run_created
from flows.code import require_deployed_code
from flows.deployed import Summary, stages_apart
from flows.forms import form
from flows.parameters import STAGES, Dataset, Force, FromStage, Only, OnlyFailed, RootUrl, Sources
from flows.stages import Wanted, run_stages
from storage.root import open_root


@flow(name="pipeline", flow_run_name="pipeline {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def pipeline(
    root: RootUrl,
    dataset: Dataset = "default",
    sources: Sources = "",
    only: Only = "",
    from_stage: FromStage = "download",
    only_failed: OnlyFailed = False,
    force: Force = False,
    **fields: Any,
) -> list[Summary]:
    """Run every stage in order; each does what is missing and leaves the rest alone."""
    require_deployed_code()
    wanted = Wanted(from_stage, only_failed, run_created() if force else "")
    with stages_apart(open_root(root)) as children:
        return list(run_stages(root, dataset, sources, fields, only=only, wanted=wanted, children=children))
