"""The compare flow: several networks on the same outside data, and ensembles of them, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact
from pydantic import Field

from flows.benchmarks import benchmark_units, proposal_units
from flows.comparing import comparison_unit, page_place, shown_rows
from flows.evaluate import run_evaluation
from flows.forms import form
from flows.networks import Judgeable, read_networks
from flows.parameters import RootUrl
from flows.plan import StagePlan, stands, unit_name
from flows.record import record_units, unit_entry
from flows.stage import Run, finish, open_run, told
from storage.folders import contents_digest
from storage.versions import UnitEntry
from tasks.batch import Outcome, Unit
from tasks.evaluate import DATA, OF_TRACKS
from tasks.evaluate.inputs import Entrant, data_path
from tasks.evaluate.key import ensemble_document
from tasks.presets import RunConfig

COMPARED = "compared"

Networks = Annotated[
    list[str],
    Field(
        min_length=1,
        description="What is compared, the first is the base: a data set of the root, or a folder that tritrack export "
        "wrote; 'label=a,b,c' names several seeds of one training.",
    ),
]
Devkits = Annotated[
    list[str], Field(description="VOC devkit folders that stand in turn for evaluate.voc, such as 2007's and 2012's.")
]
ComparedDataset = Annotated[
    str, Field(description="Where the comparison is kept.", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
]


@flow(name="compare", flow_run_name="compare {dataset}", persist_result=False)
@form("evaluate", "seed", "execution")
def compare(
    root: RootUrl,
    compare_networks: Networks,
    compare_devkits: Devkits = [],  # noqa: B006  # the form's default, never changed
    dataset: ComparedDataset = COMPARED,
    **fields: Any,
) -> dict[str, Any]:
    """Judge each network by every benchmark whose outside data is named; of detectors also the ensembles of the first
    two and three; and put all beside the first, the untrained network and the supervised one."""
    with open_run("evaluate", root, dataset, fields) as run:
        networks = read_networks(run.root, compare_networks)
        work = _Work(run)
        groups: dict[str, list[Entrant]] = {}
        for devkit in compare_devkits or [run.config.evaluate.voc]:
            evaluate = run.config.evaluate.model_copy(update={"voc": devkit})
            config = run.config.model_copy(update={"evaluate": evaluate})
            if (title := _title(config)) in groups:
                raise ValueError(f"compare: two devkits are called {title!r}; give their folders names of their own")
            groups[title] = work.judge(config, networks)
        base = next(iter(networks))
        comparison = comparison_unit(f"{dataset}: networks side by side", groups, base)
        work.run_all({"evaluate/comparison": comparison})
        create_table_artifact(
            table=shown_rows(run.root, run.version, "comparison"),
            key="comparison",
            description=f"networks beside {base}, 95 % intervals",
        )
        place = page_place(run.root, run.version, "comparison")
        said = "The comparison, one HTML page"
        create_link_artifact(link=place, key="comparison-page", description=said, link_text=place)
        return finish(run, work.plan, work.outcomes) | {"page": place}


@dataclass
class _Work:
    """What a comparison runs: `plan` and `outcomes` sum up all of it."""

    run: Run
    plan: StagePlan = field(default_factory=lambda: StagePlan("evaluate"))
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def judge(self, config: RunConfig, networks: Mapping[str, Sequence[Judgeable]]) -> list[Entrant]:
        """An entrant for each network, then the ensembles."""
        proposals = self.run_all({unit_name(unit): unit for unit in proposal_units(config)})
        seeds: dict[str, list[dict[str, str]]] = {}
        for label, trained in networks.items():
            for number, network in enumerate(trained):
                units = {
                    unit.item: replace(unit, item=f"{label}: {unit.item}")
                    for unit in benchmark_units(config, network.inputs(tuple(proposals.values())))
                }
                names = {_unit_name(config, label, number, benchmark): unit for benchmark, unit in units.items()}
                keys = self.run_all(names)
                seeds.setdefault(label, []).append(dict(zip(units, keys.values(), strict=True)))
        if not any(units for of_label in seeds.values() for units in of_label):
            named = ", ".join(f"evaluate.{field}" for field in _outside())
            raise ValueError(f"compare: no benchmark can run on outside data; name some ({named})")
        entrants = [Entrant(label, tuple(units)) for label, units in seeds.items()]
        return entrants + self._ensembles(config, seeds)

    def _ensembles(self, config: RunConfig, seeds: Mapping[str, Sequence[Mapping[str, str]]]) -> list[Entrant]:
        """The first two and the first three detectors (of each network its first seed) together."""
        detectors = {label: units[0]["detection"] for label, units in seeds.items() if "detection" in units[0]}
        entrants = []
        for size in range(2, min(3, len(detectors)) + 1):
            labels = list(detectors)[:size]
            label = f"ensemble: {' + '.join(labels)}"
            unit = _ensemble_unit(config, label, [detectors[each] for each in labels])
            keys = self.run_all({_unit_name(config, label, 0, "detection"): unit})
            entrants.append(Entrant(label, tuple({"detection": key} for key in keys.values())))
        return entrants

    def run_all(self, units: Mapping[str, Unit]) -> dict[str, str]:
        """Run those of the units (by their names in the version) that it does not hold yet, and record them; the keys
        that each goes by."""
        version = self.run.version
        held = {
            name: entry
            for name, unit in units.items()
            if (entry := version.units.get(name)) and stands(entry, unit.document)
        }
        missing = {name: unit for name, unit in units.items() if name not in held}
        plan = StagePlan("evaluate", tuple(missing.values()), tuple(units[name].item for name in held))
        self.plan = replace(self.plan, cached=self.plan.cached + plan.cached)
        outcomes = run_evaluation(self.run, plan)
        self.outcomes |= outcomes
        made: dict[str, UnitEntry] = {name: unit_entry(outcomes[unit.key]) for name, unit in missing.items()}
        if made:
            self.run.record(partial(record_units, units=made), told(outcomes))
        entries = held | made
        return {name: entries[name].key for name in units}


def _ensemble_unit(config: RunConfig, label: str, units: Sequence[str]) -> Unit:
    evaluate = config.evaluate
    data = data_path(evaluate, "voc")
    document = ensemble_document(config.seed, evaluate.bootstrap_samples, units, contents_digest(Path(data)))
    return Unit(label, document, "tasks.evaluate.ensemble:run_ensemble", (tuple(units), data, evaluate, config.seed))


def _unit_name(config: RunConfig, label: str, seed: int, benchmark: str) -> str:
    """What the version calls a unit: data may be another one for the same network and benchmark."""
    return f"evaluate/compared/{_title(config)}/{label}/{seed}/{benchmark}"


def _title(config: RunConfig) -> str:
    """The names of the outside folders."""
    named = [Path(path).name for path in (data_path(config.evaluate, field) for field in _outside()) if path]
    return ", ".join(named) or "no outside data"


def _outside() -> list[str]:
    """The fields that name data of benchmarks which ask nothing of the data set's own videos."""
    return list(dict.fromkeys(field for name, field in DATA.items() if name not in OF_TRACKS))
