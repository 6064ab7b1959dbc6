"""What a benchmark is run on, by name; and what a comparison of networks is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.folders import contents_digest
from tasks.evaluate.config import EvaluateConfig

_REMEDIES = {
    "labels": "name a Parquet file of labelled boxes",
    "davis": "name a folder in the format of DAVIS",
    "nyu": "name a folder in the format of NYUv2",
    "supervised": "name a folder that tritrack export wrote",
    "voc": "name a folder with Annotations, ImageSets and JPEGImages, such as VOCdevkit/VOC2007",
    "images": "name a folder with train and test, each with a folder of images a class, or with a zip of each",
}


@dataclass(frozen=True)
class Inputs:
    """What a benchmark is run on; empty is what it does not ask for.

    `train`: the key of a train unit; or instead `network`: a folder that `tritrack export` wrote. `triplets`: the key
    of a triplet index. `data`: the path that the benchmark's field of the configuration names. `supervised`: an
    exported network that labels trained, for a column of its own. `proposals`: keys of the units of region proposals.
    `architecture`: the network's name, where the planner knows it: then other networks' code changes nothing.
    """

    train: str = ""
    network: str = ""
    triplets: str = ""
    data: str = ""
    supervised: str = ""
    proposals: tuple[str, ...] = ()
    architecture: str = ""


@dataclass(frozen=True)
class Entrant:
    """One side of a comparison: `seeds` holds, for each of its trainings, benchmark units (keys) by name.

    `note` says why there is none, of a training that ended without a network.
    """

    label: str
    seeds: tuple[Mapping[str, str], ...] = ()
    note: str = ""


def data_path(config: EvaluateConfig, field: str) -> str:
    """The absolute path that a field of the configuration names (a worker may run elsewhere), or empty."""
    path = getattr(config, field)
    return str(Path(path).expanduser().absolute()) if path else ""


def data_digest(config: EvaluateConfig, field: str) -> str:
    """The digest of what a field of the configuration names; raises ValueError, one line, where that is missing."""
    path = data_path(config, field)
    remedy = f"{_REMEDIES[field]}, or leave it empty to run without"
    if not Path(path).exists():
        raise ValueError(f"evaluate.{field}: {getattr(config, field)!r} does not exist; {remedy}")
    try:
        return contents_digest(Path(path))
    except ValueError as error:
        raise ValueError(f"evaluate.{field}: {error}; {remedy}") from error
