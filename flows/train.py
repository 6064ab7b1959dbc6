"""The train flow: a data set version to a checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow

from flows.forms import form
from flows.parameters import Dataset, RootUrl
from flows.plan import plan_train, record_units
from flows.stage import finish, open_run, run_singles
from tasks.train.task import train_unit


@flow(name="train", flow_run_name="train {dataset}", persist_result=False)
@form("train", "seed", "execution")
def train(root: RootUrl, dataset: Dataset = "default", **fields: Any) -> dict[str, Any]:
    """Train on the data set's newest triplet index; a killed run goes on from its last checkpoint."""
    run = open_run("train", root, dataset, fields)
    plan = plan_train(run.version, run.config)
    outcomes = run_singles(run, plan, train_unit)
    for outcome in outcomes.values():
        run.record(partial(record_units, keys={"train": outcome.key}))
    return finish(run, plan, outcomes)
