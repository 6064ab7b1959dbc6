"""Networks judged side by side: what the compare and ablate flows share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.benchmarks import benchmark_units, proposal_units
from flows.comparing import comparison_unit, page_place, shown_rows
from flows.evaluate import run_evaluation
from flows.networks import Judgeable
from flows.plan import StagePlan, stands, unit_name
from flows.record import record_units, unit_entry
from flows.stage import Run, finish, told
from storage.folders import contents_digest
from storage.versions import UnitEntry
from tasks.batch import Outcome, Unit
from tasks.evaluate.inputs import Entrant, data_path
from tasks.evaluate.key import ensemble_document
from tasks.presets import RunConfig

_log = logging.getLogger(__name__)


@dataclass
class Judging:
    """What a comparison runs, and its place `name` in the version; `plan` and `outcomes` sum up all of it."""

    run: Run
    name: str
    plan: StagePlan = field(default_factory=lambda: StagePlan("evaluate"))
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def judge(self, title: str, config: RunConfig, networks: Mapping[str, Sequence[Judgeable]]) -> list[Entrant]:
        """An entrant for each network, by every benchmark of the configuration that can run on it.

        `title` tells this data from any other that the same networks are judged on. A benchmark that ends with a
        ValueError, as a fine-tuning that diverges, is told in the entrant's note, and the others go on.
        """
        proposals = self.run_all(
            {f"proposals/{self.name}/{title}/{unit_name(unit)}": unit for unit in proposal_units(config)}
        )
        entrants = []
        for label, trained in networks.items():
            seeds, notes = list[dict[str, str]](), dict[str, None]()
            for number, network in enumerate(trained):
                inputs = replace(network.inputs(), proposals=tuple(proposals.values()))
                keys: dict[str, str] = {}
                for unit in benchmark_units(config, inputs):
                    name = self._unit_name(title, label, number, unit.item)
                    try:
                        keys[unit.item] = self.run_all({name: replace(unit, item=f"{label}: {unit.item}")})[name]
                    except ValueError as failed:
                        _log.warning("%s, %s: %s", label, unit.item, failed)
                        notes[f"{unit.item}: {failed}"] = None
                seeds.append(keys)
            entrants.append(Entrant(label, tuple(filter(None, seeds)), "; ".join(notes)))
        return entrants

    def ensembles(self, title: str, config: RunConfig, entrants: Sequence[Entrant]) -> list[Entrant]:
        """The first two and the first three detectors (of each network its first seed) together."""
        detectors = {
            one.label: one.seeds[0]["detection"] for one in entrants if one.seeds and "detection" in one.seeds[0]
        }
        found = []
        for size in range(2, min(3, len(detectors)) + 1):
            labels = list(detectors)[:size]
            label = f"ensemble: {' + '.join(labels)}"
            unit = _ensemble_unit(config, label, [detectors[each] for each in labels])
            keys = self.run_all({self._unit_name(title, label, 0, "detection"): unit})
            found.append(Entrant(label, tuple({"detection": key} for key in keys.values())))
        return found

    def conclude(self, words: str, groups: Mapping[str, Sequence[Entrant]], base: str) -> dict[str, Any]:
        """Commit the comparison, publish its table and page, and give the flow's summary."""
        unit = comparison_unit(words, groups, base)
        self.run_all({f"evaluate/{self.name}": unit})
        run = self.run
        table = shown_rows(run.root, run.version, self.name)
        create_table_artifact(table=table, key=self.name, description=f"{words}: beside {base}, 95 % intervals")
        place, said = page_place(run.root, run.version, self.name), "The comparison, one HTML page"
        create_link_artifact(link=place, key=f"{self.name}-page", description=said, link_text=place)
        return finish(run, self.plan, self.outcomes) | {"page": place}

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

    def _unit_name(self, title: str, label: str, seed: int, benchmark: str) -> str:
        return f"evaluate/{self.name}/{title}/{label}/{seed}/{benchmark}"


def _ensemble_unit(config: RunConfig, label: str, units: Sequence[str]) -> Unit:
    evaluate = config.evaluate
    data = data_path(evaluate, "voc")
    document = ensemble_document(config.seed, evaluate.bootstrap_samples, units, contents_digest(Path(data)))
    return Unit(label, document, "tasks.evaluate.ensemble:run_ensemble", (tuple(units), data, evaluate, config.seed))
