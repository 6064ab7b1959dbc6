"""What a stage's run leaves in the Prefect UI: outcomes, failures, throughput beside the run before, the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.costs import last_run
from flows.results import report_place
from storage.root import Root
from storage.versions import Failure, Version
from tasks.batch import Outcome

_SHOWN_FAILURES = 500


def publish_outcomes(
    stage: str,
    dataset: str,
    numbers: Mapping[str, int],
    pending: Mapping[str, int],
    failures: Mapping[str, Failure],
) -> None:
    """Units by outcome and reason, and the tool's own words on each failed item."""
    rows = [{"outcome": name, "reason": "", "units": numbers[name]} for name in ("committed", "cached")]
    rows += [{"outcome": "left for later", "reason": why, "units": number} for why, number in pending.items()]
    reasons = Counter((failure.kind, failure.reason) for failure in failures.values())
    rows += [{"outcome": kind, "reason": reason, "units": number} for (kind, reason), number in sorted(reasons.items())]
    create_table_artifact(table=rows, key=f"{stage}-outcomes", description=f"{stage}: outcomes of `{dataset}`")
    if failures:
        create_table_artifact(
            table=[
                {"item": item, "class": failure.kind, "reason": failure.reason, "words": failure.words}
                for item, failure in sorted(failures.items())[:_SHOWN_FAILURES]
            ],
            key=f"{stage}-failures",
            description=f"{stage}: what was dropped, and the tool's own words",
        )


def publish_throughput(root: Root, stage: str, dataset: str, seconds: float, outcomes: Iterable[Outcome]) -> None:
    """Units a second beside those of the last run that had units to run; nothing where this one had none."""
    ran = [outcome for outcome in outcomes if not outcome.cached and not outcome.pending]
    if not ran or not seconds:
        return
    rows: list[dict[str, Any]] = [
        {"run": "this one", "units": len(ran), "seconds": round(seconds, 1), "units/s": round(len(ran) / seconds, 3)}
    ]
    if last := last_run(root, stage, dataset):
        units = sum(last.outcomes.get(name, 0) for name in ("committed", "failed"))
        began = f"the last one, {last.started[:16].replace('T', ' ')}Z"
        rate = round(last.units_per_second, 3)
        rows.append({"run": began, "units": units, "seconds": round(last.seconds, 1), "units/s": rate})
    create_table_artifact(
        table=rows, key=f"{stage}-throughput", description=f"{stage}: throughput on `{dataset}`; see `tritrack ledger`"
    )


def publish_report(root: Root, version: Version) -> None:
    """A link to the data set's newest report, where there is one."""
    if place := report_place(root, version):
        create_link_artifact(link=place, key="report", description="The report, one HTML page", link_text=place)
