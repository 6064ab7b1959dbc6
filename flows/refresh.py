"""The nightly refresh of a data set: whatever its sources offer now, through every stage, and a record of the night."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed
from pydantic import Field

from flows.claim import claim_refresh
from flows.code import require_deployed_code
from flows.deployed import Summary, stages_apart
from flows.forms import form, unflatten
from flows.judgement import judge_night
from flows.nights import markdown_of, measure_night, settings_digests, sum_up
from flows.parameters import STAGES, Dataset, Only, RootUrl, Sources
from flows.resolve import resolve
from flows.retraining import Retraining, decide_training
from flows.stages import run_stages
from flows.this_run import this_flow_run
from storage.leases import Lease
from storage.nights import Night, read_nights, write_night
from storage.root import Root, open_root
from storage.versions import Version, latest_version

MARKED_EVENT, FAILED_EVENT = "tritrack.night.marked", "tritrack.night.failed"
_log = logging.getLogger(__name__)

RetrainShare = Annotated[
    float,
    Field(
        ge=0,
        description="Train again once so many pairs are new, as a share of those that the network was trained on; "
        "0: at any new pair.",
    ),
]
CollapseShare = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="Mark a night whose kept share or tracks per minute falls below this share of the median of the "
        "last nights; 0: mark none.",
    ),
]


@flow(name="refresh", flow_run_name="refresh {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def refresh(
    root: RootUrl,
    dataset: Dataset = "default",
    sources: Sources = "",
    only: Only = "",
    refresh_retrain_share: RetrainShare = 0.1,
    refresh_collapse_share: CollapseShare = 0.5,
    **fields: Any,
) -> State[list[Summary]]:
    """Read the sources again, playlists and feeds included, and run what they add; nothing old runs again."""
    require_deployed_code()
    opened = open_root(root)
    if told := _missed(opened, dataset):
        return _ended("Skipped", told)
    with Lease(opened, "run", {"stage": "refresh", "dataset": dataset}) as lease:
        if holder := claim_refresh(opened, lease, dataset):
            return _ended("Refused", f"a refresh of {dataset} is under way already ({holder.holder})")
        night = _Night(opened, dataset, refresh_retrain_share, fields, only)
        try:
            with stages_apart(opened) as children:
                for summary in run_stages(
                    root,
                    dataset,
                    sources,
                    fields,
                    only=only,
                    expand=True,
                    left_out=night.stages_left_out,
                    children=children,
                ):
                    night.summaries.append(summary)
        except Exception as error:
            night.conclude(refresh_collapse_share, failed=f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        return night.conclude(refresh_collapse_share)


@dataclass
class _Night:
    """A refresh under way: where it began, and what its stages have told."""

    root: Root
    dataset: str
    retrain_share: float
    fields: Mapping[str, Any]
    only: str
    before: Version = field(init=False)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    summaries: list[Summary] = field(default_factory=list)
    retraining: Retraining = field(default_factory=lambda: Retraining("no stage came so far"))

    def __post_init__(self) -> None:
        self.before = latest_version(self.root, self.dataset)

    def stages_left_out(self) -> Mapping[str, str]:
        """Once the shards are there: whether to train on them, and what is left out otherwise."""
        version = latest_version(self.root, self.dataset)
        config = resolve(self.root, self.dataset, unflatten(self.fields))
        self.retraining = decide_training(self.root, version, config, self.retrain_share)
        for stage, note in self.retraining.left_out.items():
            _log.info("%s: left out, %s", stage, note)
        return self.retraining.left_out

    def conclude(self, collapse_share: float, failed: str = "") -> State[list[Summary]]:
        """Record and judge the night, tell who must know, and give the state that the flow ends in."""
        if self.only:
            note = f"a part of the sources ({self.only}): not counted as a night"
            _log.info("refresh: %s", note)
            return Completed(message=note, data=self.summaries)
        earlier = read_nights(self.root, self.dataset)
        night = judge_night(self._measured(failed), earlier, collapse_share)
        write_night(self.root, night)
        told = _in_words(night)
        _publish([*earlier, night], told)
        self.summaries.append(_summary(night, told))
        if night.marks:
            return Completed(name="Marked", message="; ".join(night.marks), data=self.summaries)
        return Completed(message=told, data=self.summaries)

    def _measured(self, failed: str) -> Night:
        run = this_flow_run()
        due = run.expected_start_time if run else None
        night = Night(
            dataset=self.dataset,
            started=self.started.isoformat(timespec="microseconds"),
            scheduled=due.astimezone(UTC).isoformat(timespec="seconds") if due else "",
            training=self.retraining.words,
            settings=settings_digests(unflatten(self.fields)),
            failed=failed,
            run=str(run.id) if run else "",
        )
        night = measure_night(self.root, self.before, latest_version(self.root, self.dataset), night)
        return replace(sum_up(night, self.summaries), ended=datetime.now(UTC).isoformat(timespec="microseconds"))


def _ended(name: str, message: str) -> State[list[Summary]]:
    """A run that does nothing, and says why; completed, since Prefect logs a cancelled one as a crash."""
    _log.warning("refresh: %s: %s", name.lower(), message)
    return Completed(name=name, message=message, data=[])


def _missed(root: Root, dataset: str) -> str:
    """Why a scheduled run has nothing to do any more, or nothing: a night has begun since it was due.

    After an outage Prefect starts every run that was missed. One that a person started, or starts again, is none.
    """
    run = this_flow_run()
    if run is None or not run.auto_scheduled or run.run_count > 1 or run.expected_start_time is None:
        return ""
    due = run.expected_start_time
    newest = read_nights(root, dataset, newest=1)
    if not newest or datetime.fromisoformat(newest[0].started) < due:
        return ""
    began = newest[0].started[:19]
    return f"it was due at {due.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z, and a night has begun since ({began}Z)"


def _publish(nights: list[Night], told: str) -> None:
    """The table of nights in the UI; for one that was marked or failed a warning and an event, which may notify."""
    night = nights[-1]
    slug = re.sub(r"[^a-z0-9]+", "-", night.dataset).strip("-")
    create_markdown_artifact(markdown_of(nights), f"{slug}-nights", description=f"the last nights of `{night.dataset}`")
    if not (night.marks or night.failed):
        _log.info("refresh: %s", told)
        return
    _log.warning("refresh: night %s: %s", "failed" if night.failed else "marked", told)
    emit_event(
        FAILED_EVENT if night.failed else MARKED_EVENT,
        {"prefect.resource.id": f"tritrack.dataset.{night.dataset}", "prefect.resource.name": night.dataset},
        payload={
            "dataset": night.dataset,
            "message": told,
            "marks": list(night.marks),
            "failed": night.failed,
            "version": night.version,
            "started": night.started,
            "kept": night.kept,
            "due": night.due,
            "tracks_per_minute": night.tracks_per_minute,
        },
    )


def _in_words(night: Night) -> str:
    """The night in a line, the worst first."""
    parts = [f"failed: {night.failed}"] if night.failed else []
    parts += night.marks or [f"{night.kept} of {night.due} sources kept" if night.due else "no source was due"]
    numbers = {"pending": night.pending, "removed": night.removed, "returned": night.returned}
    parts += [f"{number} {what}" for what, number in numbers.items() if number]
    return "; ".join([*parts, f"{night.new_pairs:,} new pairs", f"training: {night.training}"])


def _summary(night: Night, told: str) -> Summary:
    """The night as a row beside those of its stages."""
    counts = {
        "removed": night.removed,
        "returned": night.returned,
        "tracks": night.tracks,
        "new_pairs": night.new_pairs,
        "marks": len(night.marks),
    }
    return {
        "stage": "night",
        "dataset": night.dataset,
        "version": night.version,
        "committed": night.kept,
        "cached": 0,
        "failed": night.tried - night.kept,
        "seconds": round(sum(night.seconds.values()), 1),
        "counts": counts,
        "note": told,
        "pending": night.pending,
    }
