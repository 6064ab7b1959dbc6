"""The ablate flow: the pipeline once for each change of a grid, on the same sources, and a comparison of all."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact
from pydantic import Field

from flows.ablations import BASE, Cell, cells_of, choose_axes, fields_of
from flows.comparing import comparison_unit, page_place, shown_rows
from flows.forms import form, unflatten
from flows.parameters import Dataset, RootUrl, Sources
from flows.plan import StageFailed, StagePlan, is_done, plan_run
from flows.record import record_units, unit_entry
from flows.resolve import resolve
from flows.sources import given_sources
from flows.stage import finish, open_run, run_singles, told
from flows.stages import STAGES, run_stages
from storage.root import open_root
from storage.versions import latest_version
from tasks.evaluate import BENCHMARKS
from tasks.evaluate.inputs import Entrant
from tasks.evaluate.task import evaluate_unit

_log = logging.getLogger(__name__)

Axes = Annotated[
    list[str],
    Field(
        description="What is changed, one at a time: gap, tracking, noise, margin, hardness, negatives, objective.",
        min_length=1,
    ),
]
Seeds = Annotated[int, Field(ge=1, le=20, description="Trainings of each cell, which seeds tell apart.")]


@flow(name="ablate", flow_run_name="ablate {dataset}", persist_result=False)
@form("seed", *STAGES, "execution")
def ablate(
    root: RootUrl,
    dataset: Dataset = "default",
    sources: Sources = "",
    ablate_axes: Axes = ["gap", "tracking", "noise"],  # noqa: B006  # the form's default, never changed
    ablate_seeds: Seeds = 1,
    **fields: Any,
) -> dict[str, Any]:
    """Train and judge the run as it is, and once for each change of a grid; compare them in one table and plots.

    Each cell is a data set of its own, `<dataset>.<cell>.<seed>`, in the same root, so that nothing is made twice:
    what a change does not touch is found committed. A cell whose training fails is told in the table.
    """
    axes = choose_axes(ablate_axes)
    entrants: dict[str, list[Entrant]] = defaultdict(list)
    for axis, name, cell in cells_of(axes):
        seeds = [
            _run_cell(root, f"{dataset}.{name}.{seed}", sources, fields_of(cell, fields, seed), cell)
            for seed in range(ablate_seeds)
        ]
        entrants[axis].append(_entrant(cell, seeds))
    groups = {f"{axis}: {axes[axis].words}": [*entrants[""], *entrants[axis]] for axis in axes}
    return _compare(root, dataset, fields, groups)


def _run_cell(
    root: str, dataset: str, sources: str, fields: Mapping[str, Any], cell: Cell
) -> tuple[Mapping[str, str], str]:
    """The benchmark units of one run, by name; or none, and why."""
    try:
        if _is_done(root, dataset, sources, fields):
            _log.info("%s: every unit is cached", cell.label)
        else:
            for summary in run_stages(root, dataset, sources, fields):
                numbers = (summary[key] for key in ("stage", "committed", "cached"))
                _log.info("%s, %s: %s committed, %s cached", cell.label, *numbers)
    except StageFailed as failed:
        _log.warning("%s: %s", cell.label, failed)
        return {}, str(failed)
    units = latest_version(open_root(root), dataset).units
    return {name: units[f"evaluate/{name}"].key for name in BENCHMARKS if f"evaluate/{name}" in units}, ""


def _is_done(root: str, dataset: str, sources: str, fields: Mapping[str, Any]) -> bool:
    """Whether a cell's run would do nothing: then its five flows need not start."""
    opened, config = open_root(root), unflatten(fields)
    version = latest_version(opened, dataset)
    given = given_sources(sources, version, config.download.allow_stores)
    return is_done(plan_run(version, given, resolve(opened, dataset, config, record=False)))


def _entrant(cell: Cell, seeds: Sequence[tuple[Mapping[str, str], str]]) -> Entrant:
    note = next((why for _, why in seeds if why), "")
    return Entrant(cell.label, tuple(units for units, _ in seeds if units), note)


def _compare(
    root: str, dataset: str, fields: Mapping[str, Any], groups: Mapping[str, Sequence[Entrant]]
) -> dict[str, Any]:
    with open_run("evaluate", root, dataset, fields) as run:
        unit = comparison_unit(f"{dataset}: ablations", groups, BASE)
        plan = StagePlan("evaluate", (unit,))
        outcomes = run_singles(run, plan, evaluate_unit)
        units = {"evaluate/ablations": unit_entry(outcomes[unit.key])}
        run.record(lambda version: record_units(version, units), told(outcomes))
        create_table_artifact(
            table=shown_rows(run.root, run.version, "ablations"),
            key="ablations",
            description=f"ablations of `{dataset}`, beside the run as it is",
        )
        place = page_place(run.root, run.version, "ablations")
        create_link_artifact(
            link=place, key="ablations-page", description="The comparison, one HTML page", link_text=place
        )
        return finish(run, plan, outcomes) | {"page": place}
