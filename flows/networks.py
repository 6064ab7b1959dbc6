"""Networks by what a user calls them: data sets of a root, and exported folders. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.root import Root
from storage.versions import dataset_names, latest_version
from tasks.evaluate.inputs import Inputs


@dataclass(frozen=True)
class Judgeable:
    """A trained network: the key of its train unit, or the folder of its export."""

    train: str = ""
    folder: str = ""

    def inputs(self, proposals: tuple[str, ...]) -> Inputs:
        """What benchmarks of outside data are run on."""
        return Inputs(train=self.train, network=self.folder, proposals=proposals)


def read_networks(root: Root, names: Sequence[str]) -> dict[str, list[Judgeable]]:
    """By label, in their order, the networks of some names: 'a', or 'label=a,b,c' for several seeds of one training.

    Raises ValueError, in one line, for a name that is no data set of the root with a network, and no exported folder.
    """
    found: dict[str, list[Judgeable]] = {}
    for name in names:
        label, _, several = name.rpartition("=")
        parts = several.split(",") if label else [name]
        label = label or Path(name).name
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
