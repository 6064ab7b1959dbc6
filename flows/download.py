"""The download flow: sources to videos, by content."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, RootUrl, Sources
from flows.plan import known_sources, plan_download, record_download
from flows.stage import finish, open_run, run_batches
from tasks.download.sources import read_sources
from tasks.download.task import download_batch


@flow(name="download", flow_run_name="download {dataset}", persist_result=False)
@form("download", "execution")
def download(root: RootUrl, dataset: Dataset = "default", sources: Sources = "", **fields: Any) -> dict[str, Any]:
    """Fetch every source that has no video yet; without sources, those that the data set knows."""
    run = open_run("download", root, dataset, fields)
    wanted = read_sources(sources) if sources else known_sources(run.version)
    plan = plan_download(run.version, wanted, run.config)
    outcomes = run_batches(run, plan, download_batch)
    run.record(lambda version: record_download(version, wanted, run.config, outcomes))
    return finish(run, plan, outcomes)
