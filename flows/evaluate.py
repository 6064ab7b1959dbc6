"""The evaluate flow: a checkpoint to scores, the audit of the tracker, and the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.deployed import keep_summary
from flows.forms import form
from flows.parameters import Dataset, Force, RootUrl
from flows.plan import StageFailed, StagePlan, plan_evaluate, unit_name
from flows.record import record_units, unit_entry
from flows.results import report_place, scores_of
from flows.stage import Run, finish, open_run, run_batches, run_singles, told
from tasks.batch import Outcome
from tasks.evaluate.task import evaluate_unit, proposals_batch


@flow(name="evaluate", flow_run_name="evaluate {dataset}", persist_result=False)
@form("evaluate", "track", "seed", "execution")
def evaluate(root: RootUrl, dataset: Dataset = "default", force: Force = False, **fields: Any) -> dict[str, Any]:
    """Run the benchmarks on the newest checkpoint, beside it untrained; audit the tracker; write the report."""
    with open_run("evaluate", root, dataset, fields, force=force) as run:
        plan = plan_evaluate(run.version, run.config)
        outcomes = run_evaluation(run, plan)
        names = {unit.key: unit_name(unit) for unit in plan.units}
        units = {names[key]: unit_entry(outcome) for key, outcome in outcomes.items()}
        run.record(lambda version: record_units(version, units), told(outcomes))
        if scores := scores_of(run.root, run.version):
            described = f"scores of `{dataset}`, 95 % intervals by video"
            create_table_artifact(table=scores, key="scores", description=described)
        summary = finish(run, plan, outcomes) | {"report": report_place(run.root, run.version)}
        return keep_summary(run.root, summary)


def run_evaluation(run: Run, plan: StagePlan) -> dict[str, Outcome]:
    """Region proposals over worker processes, then all else in this one; outcomes by key."""
    proposals = tuple(unit for unit in plan.units if unit.document.stage == "proposals")
    outcomes: dict[str, Outcome] = {}
    if proposals:
        outcomes = run_batches(run, replace(plan, units=proposals, cached=()), proposals_batch)
        lost = [f"{one.item}: {one.failure.words}" for one in outcomes.values() if one.failure]
        if lost or run.pending:
            raise StageFailed(f"evaluate: {len(proposals)} units of proposals: {(lost or list(run.pending))[0]}")
    others = tuple(unit for unit in plan.units if unit not in proposals)
    return outcomes | run_singles(run, replace(plan, units=others), evaluate_unit)
