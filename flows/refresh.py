"""The nightly refresh of a data set: whatever its sources offer now, through every stage."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, RootUrl, Sources
from flows.pipeline import STAGES, pipeline


@flow(name="refresh", flow_run_name="refresh {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def refresh(root: RootUrl, dataset: Dataset = "default", sources: Sources = "", **fields: Any) -> list[dict[str, Any]]:
    """Read the source list again, or the data set's own, and run what it adds; nothing old runs again."""
    summaries: list[dict[str, Any]] = pipeline(root=root, dataset=dataset, sources=sources, **fields)
    return summaries
