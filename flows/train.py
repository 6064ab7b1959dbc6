"""The train flow: a data set version to a checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow

from flows.deployed import keep_summary
from flows.forms import form
from flows.parameters import Dataset, Force, RootUrl
from flows.plan import plan_train
from flows.record import record_units, unit_entry
from flows.stage import finish, open_run, run_singles, told
from tasks.train.task import train_unit


@flow(name="train", flow_run_name="train {dataset}", persist_result=False)
@form("train", "seed", "execution")
def train(root: RootUrl, dataset: Dataset = "default", force: Force = False, **fields: Any) -> dict[str, Any]:
    """Train on the data set's newest triplet index; a killed run goes on from its last checkpoint."""
    with open_run("train", root, dataset, fields, force=force) as run:
        plan = plan_train(run.version, run.config)
        outcomes = run_singles(run, plan, train_unit)
        for outcome in outcomes.values():
            units = {"train": unit_entry(outcome)}
            run.record(partial(record_units, units=units), told(outcomes))
        return keep_summary(run.root, finish(run, plan, outcomes))
