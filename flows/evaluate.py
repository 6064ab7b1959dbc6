"""The evaluate flow: a checkpoint to scores, the audit of the tracker, and the report."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.forms import form
from flows.parameters import Dataset, RootUrl
from flows.plan import plan_evaluate, unit_name
from flows.record import record_units, unit_entry
from flows.results import report_place, scores_of
from flows.stage import finish, open_run, run_singles, told
from tasks.evaluate.task import evaluate_unit


@flow(name="evaluate", flow_run_name="evaluate {dataset}", persist_result=False)
@form("evaluate", "track", "seed", "execution")
def evaluate(root: RootUrl, dataset: Dataset = "default", **fields: Any) -> dict[str, Any]:
    """Run the benchmarks on the newest checkpoint, beside it untrained; audit the tracker; write the report."""
    with open_run("evaluate", root, dataset, fields) as run:
        plan = plan_evaluate(run.version, run.config)
        outcomes = run_singles(run, plan, evaluate_unit)
        names = {unit.key: unit_name(unit) for unit in plan.units}
        units = {names[key]: unit_entry(outcome) for key, outcome in outcomes.items()}
        run.record(lambda version: record_units(version, units), told(outcomes))
        if scores := scores_of(run.root, run.version):
            described = f"scores of `{dataset}`, 95 % intervals by video"
            create_table_artifact(table=scores, key="scores", description=described)
        if place := report_place(run.root, run.version):
            create_link_artifact(link=place, key="report", description="The report, one HTML page", link_text=place)
        return finish(run, plan, outcomes) | {"report": place}
