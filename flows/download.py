"""The download flow: sources to videos, by content."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.deployed import keep_summary
from flows.forms import form
from flows.parameters import Dataset, Expand, Force, Only, OnlyFailed, RootUrl, Sources
from flows.plan import StagePlan, plan_download
from flows.record import record_download
from flows.runner import seen_of, unit_pool
from flows.selection import SourceList, failed_sources, known_sources, select, with_listed
from flows.sources import given_sources
from flows.stage import Run, finish, open_run, run_batches, told, unit_limits
from storage.versions import Failure, Version, held_bytes
from tasks.batch import Budget, Outcome
from tasks.download.config import DownloadConfig
from tasks.download.governor import Governor
from tasks.download.preflight import preflight
from tasks.download.scratch import prune_scratch
from tasks.download.task import download_batch
from tasks.pool import Call

PRELOAD = "tasks.download.preload"
_LISTS_IN_LISTS = 4  # a channel names its tabs, a tab its playlists, a playlist its videos
# To decrypt, hash, read and store 2 GB takes half a minute; a page can keep yt-dlp's patterns busy for hours.
_CPU_SECONDS = 600.0
_MARGIN_BYTES = 1 << 26  # what a worker may write beside the largest video
_log = logging.getLogger(__name__)


@flow(name="download", flow_run_name="download {dataset}", persist_result=False)
@form("download", "execution")
def download(
    root: RootUrl,
    dataset: Dataset = "default",
    sources: Sources = "",
    only: Only = "",
    expand: Expand = False,
    only_failed: OnlyFailed = False,
    force: Force = False,
    **fields: Any,
) -> State[dict[str, Any]]:
    """Fetch every source that has no video yet; without sources, those that the data set knows."""
    with open_run("download", root, dataset, fields, force=force, sources=sources, only=only) as run:
        before = run.version
        fetching = _Fetching(run, sources, only, expand, only_failed)
        fetching.fetch()
        summary = finish(run, fetching.plan(), fetching.outcomes)
        changes = counts_changed(before, run.version)
        words = ", ".join(f"{number} {what}" for what, number in changes.items() if number)
        message = "; ".join(filter(None, (summary["note"], words)))
        come_back, refusals = fetching.governor.come_back, fetching.governor.refusals
        refused = sum(number for why, number in run.pending.items() if why in refusals)
        moment = datetime.fromtimestamp(come_back, UTC).isoformat(timespec="seconds") if come_back else ""
        summary |= changes | {"come_back": moment, "refused": refused}
        return Completed(message=message or None, data=keep_summary(run.root, summary))


@dataclass
class _Fetching:
    """The rounds of one run: what is planned, then what the lists among it turned out to name."""

    run: Run
    argument: str
    only: str
    expand: bool
    only_failed: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    governor: Governor = field(init=False)
    _cached: dict[str, None] = field(default_factory=dict)
    _failures: dict[str, Failure] = field(default_factory=dict)

    def fetch(self) -> None:
        """Run the rounds, each recorded as it ends."""
        run, config = self.run, self.run.config
        given = given_sources(self.argument, run.version, config.download.allow_stores)
        chosen = with_listed(run.version, select(given, self.only, config.execution.batch_units))
        if self.only_failed:
            chosen = failed_sources(run.version, chosen)
            config = config.model_copy(update={"download": config.download.model_copy(update={"retry": "all"})})
        for depth in range(_LISTS_IN_LISTS):
            if depth:
                is_all = not (self.argument or self.only or self.only_failed)
                chosen = known_sources(run.version) if is_all else with_listed(run.version, chosen)
            plan = plan_download(run.version, chosen, config, expand=self.expand and not depth)
            plan = replace(plan, units=tuple(unit for unit in plan.units if unit.key not in self.outcomes))
            if not depth:
                budget = intake_budget(run.version, config.download)
                self.governor = Governor(run.root, config.download, budget, _prepare(config.download, plan))
            outcomes = self._round(plan)
            self._record(chosen, plan, outcomes)
            self.outcomes |= outcomes
            if not any(outcome.listing for outcome in outcomes.values()):
                return

    def plan(self) -> StagePlan:
        """What stands beside the outcomes: found committed, and failures that were not tried again."""
        made = {outcome.item for outcome in self.outcomes.values()}
        return StagePlan("download", cached=tuple(self._cached.keys() - made), failures=self._failures)

    def _round(self, plan: StagePlan) -> dict[str, Outcome]:
        config = self.run.config
        self._cached |= dict.fromkeys(plan.cached)
        self._failures |= plan.failures or {}
        self.run.pending.clear()  # what was left in the round before is planned again
        limits = replace(
            unit_limits(config),
            cpu_seconds=min(config.execution.unit_cpu_seconds, _CPU_SECONDS),
            seconds=config.download.max_fetch_seconds,
            file_bytes=config.download.max_bytes + _MARGIN_BYTES,
        )
        pool = unit_pool(
            "download",
            config,
            config.download.connections,
            limits,
            preload=(PRELOAD,),
            seen=(*seen_of(self.run.root, self.run.lease.record.path), *_files(plan)),
            first=(Call("tasks.download.scratch:prune_scratch", (config.download.scratch_bytes,)),),
        )
        return run_batches(self.run, plan, download_batch, pool, self.governor)

    def _record(self, chosen: SourceList, plan: StagePlan, outcomes: Mapping[str, Outcome]) -> None:
        config, now = self.run.config, datetime.now(UTC).isoformat(timespec="seconds")
        note = told(outcomes) + (f", {len(plan.removed)} removed" if plan.removed else "")
        self.run.record(lambda version: record_download(version, chosen, config, outcomes, plan.removed, now), note)


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


def counts_changed(before: Version, after: Version) -> dict[str, int]:
    """Sources that a run found new, retired, and took back."""
    gone = {source for source, entry in before.sources.items() if entry.removed}
    now_gone = {source for source, entry in after.sources.items() if entry.removed}
    return {
        "new": len(after.sources.keys() - before.sources.keys()),
        "removed": len(now_gone - gone),
        "returned": len(gone - now_gone),
    }


def _files(plan: StagePlan) -> list[str]:
    """The sources that are files of this machine, one of each folder."""
    found: dict[str, str] = {}
    for unit in plan.units:
        folder = os.path.dirname(unit.item)
        if os.path.isabs(folder) and folder not in found and os.path.isfile(unit.item):
            found[folder] = unit.item
    return list(found.values())


def _prepare(config: DownloadConfig, plan: StagePlan) -> dict[str, str]:
    """Make room for what the plan fetches; hosts that cannot be asked on this machine, and why.

    What is only doubtful is logged. Raises ValueError for what no host can be asked without.
    """
    blocked: dict[str, str] = {}
    if not plan.units:
        return blocked
    prune_scratch(config.scratch_bytes)
    for finding in preflight(config, [unit.item for unit in plan.units]):
        if finding.severity == "blocks" and not finding.host:
            raise ValueError(f"download: {finding.text}")
        _log.warning("download: %s", finding.text)
        if finding.severity == "blocks":
            blocked[finding.host] = finding.text
    return blocked
