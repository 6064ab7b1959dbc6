"""The compare flow: several networks on the same outside data, and ensembles of them, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.benchmarks import benchmark_units, proposal_units
from flows.forms import form
from flows.judging import Judging
from flows.networks import read_networks
from flows.parameters import RootUrl
from flows.stage import open_run
from tasks.evaluate import DATA, OF_TRACKS
from tasks.evaluate.inputs import Inputs, data_path
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
        configs = _by_title(run.config, compare_devkits)
        judging = Judging(run, "comparison")
        groups = {}
        for title, config in configs.items():
            entrants = judging.judge(title, config, networks)
            groups[title] = entrants + judging.ensembles(title, config, entrants)
        return judging.conclude(f"{dataset}: networks side by side", groups, next(iter(networks)))


def _by_title(config: RunConfig, devkits: Sequence[str]) -> dict[str, RunConfig]:
    """A configuration for each devkit, by the names of the outside folders.

    All are planned once, so that what cannot be read is told before anything runs. Raises ValueError, in one line.
    """
    found: dict[str, RunConfig] = {}
    for devkit in devkits or [config.evaluate.voc]:
        evaluate = config.evaluate.model_copy(update={"voc": devkit})
        one = config.model_copy(update={"evaluate": evaluate})
        if (title := _title(one)) in found:
            raise ValueError(f"compare: two devkits are called {title!r}; give their folders names of their own")
        found[title] = one
        list(proposal_units(one))
        if not list(benchmark_units(one, Inputs(train="any"))):
            named = ", ".join(f"evaluate.{field}" for field in _outside())
            raise ValueError(f"compare: no benchmark can run on outside data; name some ({named})")
    return found


def _title(config: RunConfig) -> str:
    """The names of the outside folders."""
    named = [Path(path).name for path in (data_path(config.evaluate, field) for field in _outside()) if path]
    return ", ".join(named)


def _outside() -> list[str]:
    """The fields that name data of benchmarks which ask nothing of the data set's own videos."""
    return list(dict.fromkeys(field for name, field in DATA.items() if name not in OF_TRACKS))
