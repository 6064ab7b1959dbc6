"""The download flow: sources to videos, by content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.utilities.annotations import quote

from flows.forms import form
from flows.parameters import Dataset, RootUrl, Sources
from flows.plan import plan_download
from flows.record import record_download
from flows.sources import given_sources
from flows.stage import finish, open_run, run_batches, told
from storage.versions import Version, held_bytes
from tasks.batch import Budget, Outcome
from tasks.download.config import DownloadConfig
from tasks.download.task import download_batch


@flow(name="download", flow_run_name="download {dataset}", persist_result=False)
@form("download", "execution")
def download(root: RootUrl, dataset: Dataset = "default", sources: Sources = "", **fields: Any) -> dict[str, Any]:
    """Fetch every source that has no video yet; without sources, those that the data set knows."""
    with open_run("download", root, dataset, fields) as run:
        given = given_sources(sources, run.version)
        plan = plan_download(run.version, given, run.config)
        outcomes = run_batches(run, plan, download_batch, quote(intake_budget(run.version, run.config.download)))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = told(outcomes) + (f", {len(plan.removed)} removed" if plan.removed else "")
        run.record(lambda version: record_download(version, given, run.config, outcomes, plan.removed, now), note)
        return finish(run, plan, outcomes)


def intake_budget(version: Version, config: DownloadConfig) -> Budget:
    """What `download.budget_bytes` leaves for new videos; at the limit it says so, and the rest is left for later."""
    held = held_bytes(version)

    def take(outcome: Outcome | None) -> str:
        """Count an outcome; what ran out, or nothing."""
        nonlocal held
        held += outcome.counts.get("bytes", 0) if outcome and not outcome.cached else 0
        if not config.budget_bytes or held < config.budget_bytes:
            return ""
        return f"the videos hold {held:,} bytes, download.budget_bytes is {config.budget_bytes:,}; raise it to go on"

    return take
