"""Networks by what a user calls them: data sets of a root, and exported folders. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.root import Root
from storage.versions import dataset_names, latest_version
from tasks.evaluate import FEATURES
from tasks.evaluate.inputs import Inputs


@dataclass(frozen=True)
class Judgeable:
    """A trained network: the key of its train unit, or the folder of its export; and the key of the triplet index whose
    held-out tracks it is asked about, none for outside data alone."""

    train: str = ""
    folder: str = ""
    triplets: str = ""

    def inputs(self) -> Inputs:
        """What benchmarks are run on, but for outside data."""
        return Inputs(train=self.train, network=self.folder, triplets=self.triplets)


def read_networks(root: Root, names: Sequence[str]) -> dict[str, list[Judgeable]]:
    """By label, in their order, the networks of some names: 'a', or 'label=a,b,c' for several seeds of one training.

    Raises ValueError, in one line, for a name that is no data set of the root with a network, and no exported folder.
    """
    found: dict[str, list[Judgeable]] = {}
    for name in names:
        label, separator, several = name.partition("=")
        if not separator or "/" in label:  # a path may hold the sign too
            label, parts = Path(name).name, [name]
        else:
            parts = several.split(",")
        if label in FEATURES:
            raise ValueError(f"networks: {label!r} is what the table calls features beside them; take another label")
        if label in found:
            raise ValueError(f"networks: {label!r} is named twice; give one of them another label, 'label={name}'")
        found[label] = [_read_network(root, part.strip()) for part in parts]
    return found


def _read_network(root: Root, name: str) -> Judgeable:
    if "/" not in name and name in dataset_names(root):
        unit = latest_version(root, name).units.get("train")
        if unit is None:
            raise ValueError(f"networks: data set {name!r} has no trained network yet; run tritrack train on it first")
        return Judgeable(train=unit.key)
    folder = Path(name).expanduser()
    if (folder / "network.json").is_file():
        return Judgeable(folder=str(folder.absolute()))
    known = ", ".join(dataset_names(root)) or "none"
    raise ValueError(
        f"networks: {name!r} is no data set of this root (there are: {known}) and no folder that tritrack export wrote"
    )
