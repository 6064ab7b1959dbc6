"""A root with one trained network, as the commands that hand networks on find it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit
from storage.root import Root, open_root
from storage.versions import UnitEntry, update_version
from tasks.networks.network import Network
from tasks.networks.weights import NetworkSpec, network_files, untrained_network

SPEC = NetworkSpec("small", embedding=16, input_px=32, seed=3)


def trained_root(folder: Path, seed: int = 3) -> tuple[Root, Network]:
    """A root below `folder`, whose data set "default" names a train unit, and the network of that unit."""
    root = open_root(str(folder))
    return root, train_again(root, seed)


def train_again(root: Root, seed: int) -> Network:
    """Another network becomes the newest one of the data set."""
    spec = replace(SPEC, seed=seed)
    network = untrained_network(spec)
    unit = commit(root, KeyDocument(Recipe("train", 1, seed=seed)), network_files(network, spec))
    update_version(root, "default", lambda version: replace(version, units={"train": UnitEntry(unit.key)}))
    return network
