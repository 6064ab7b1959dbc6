"""The ablate flow: the pipeline once for each change of a grid, on the same sources, and a comparison of all."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from prefect import flow
from pydantic import Field, ValidationError

from flows.ablations import AXES, BASE, Axis, cells_of, choose_axes, fields_of
from flows.description import explain_error
from flows.forms import form, unflatten
from flows.judging import Judging
from flows.networks import Judgeable
from flows.parameters import STAGES, Dataset, RootUrl, Sources
from flows.plan import StageFailed, is_done, plan_run
from flows.resolve import resolve
from flows.sources import given_sources
from flows.stage import open_run
from flows.stages import run_stages
from storage.root import RootError, open_root
from storage.versions import latest_version, version_path
from tasks.evaluate.inputs import Entrant

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
    """Train the run as it is, and once for each change of a grid; judge all, and compare them in one table and plots.

    Each cell is a data set of its own, `<dataset>.<cell>.<seed>`, in the same root, so that nothing is made twice:
    what a change does not touch is found committed. All are asked about the same things: the outside data, and the
    held-out tracks of the run as it is. A cell whose training fails is told in the table.
    """
    cells = _cells(choose_axes(ablate_axes), dataset, sources, fields, ablate_seeds)
    networks: dict[str, dict[str, list[Judgeable]]] = defaultdict(dict)
    notes: dict[str, str] = {}
    asked: dict[int, str] = {}  # the triplet index of the run as it is, by seed
    for cell in cells:
        trained = networks[cell.axis].setdefault(cell.label, [])
        try:
            _run_cell(root, cell, sources)
        except StageFailed as failed:
            _log.warning("%s: %s", cell.label, failed)
            notes[cell.label] = str(failed)
            continue
        units = latest_version(open_root(root), cell.dataset).units
        if cell.label == BASE and "triplets" in units:
            asked[cell.seed] = units["triplets"].key
        if "train" in units:
            trained.append(Judgeable(train=units["train"].key, triplets=asked.get(cell.seed, "")))
        else:
            notes[cell.label] = "no network: too few tracks to train on"
    with open_run("evaluate", root, dataset, cells[0].fields) as run:
        judging = Judging(run, "ablations")
        judged = {
            axis: [_noted(entrant, notes) for entrant in judging.judge(axis or BASE, run.config, of_axis)]
            for axis, of_axis in networks.items()
        }
        groups = {f"{axis}: {AXES[axis].words}": [*judged[""], *judged[axis]] for axis in ablate_axes}
        return judging.conclude(f"{dataset}: ablations", groups, BASE)


@dataclass(frozen=True)
class _Cell:
    """One training: a cell of an axis (none for the base), its seed, its data set, and the fields of its run."""

    axis: str
    label: str
    seed: int
    dataset: str
    fields: Mapping[str, Any]


def _cells(axes: Mapping[str, Axis], dataset: str, sources: str, fields: Mapping[str, Any], seeds: int) -> list[_Cell]:
    """All trainings, the base first. Raises ValueError, in one line, before any runs: for a configuration that a cell
    makes impossible, and where no sources are named, since a cell's data set knows none."""
    if not sources:
        raise ValueError("sources: empty; name what the runs that are compared are made of")
    found = []
    for axis, name, cell in cells_of(axes):
        for seed in range(seeds):
            changed = fields_of(cell, fields, seed)
            try:
                unflatten(changed)
            except ValidationError as error:
                raise ValueError(f"ablate, {cell.label}: {explain_error(error)}") from error
            found.append(_Cell(axis, cell.label, seed, f"{dataset}.{name}.{seed}", changed))
            try:
                version_path(found[-1].dataset, 0)
            except RootError as error:
                raise ValueError(str(error)) from error
    return found


def _run_cell(root: str, cell: _Cell, sources: str) -> None:
    """Every stage up to training, where one of them has something to do."""
    opened, config = open_root(root), unflatten(cell.fields)
    version = latest_version(opened, cell.dataset)
    given = given_sources(sources, version, config.download.allow_stores)
    plans = plan_run(version, given, resolve(opened, cell.dataset, config, record=False))
    if is_done(plans[:-1]):
        _log.info("%s: every unit is cached", cell.label)
        return
    left_out = {"evaluate": "judged beside the others"}
    for summary in run_stages(root, cell.dataset, sources, cell.fields, left_out=lambda: left_out):
        numbers = (summary[key] for key in ("stage", "committed", "cached"))
        _log.info("%s, %s: %s committed, %s cached", cell.label, *numbers)


def _noted(entrant: Entrant, notes: Mapping[str, str]) -> Entrant:
    """The entrant with what became of a training of its own that failed."""
    told = [note for note in (entrant.note, notes.get(entrant.label, "")) if note]
    return replace(entrant, note="; ".join(told))
