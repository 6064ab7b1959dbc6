"""The networks that a benchmark compares: the trained one, the same untrained, and one that labels trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.manifests import require_manifest
from storage.root import Root
from tasks.evaluate.inputs import Inputs
from tasks.networks.exported import read_exported
from tasks.networks.network import Network
from tasks.networks.weights import NetworkSpec, load_network, untrained_network


@dataclass(frozen=True)
class Judged:
    """Networks on the CPU, in evaluation mode, by kind: "trained", "untrained" and, where given, "supervised".

    `specs`: what each is; all take square images, of `input_px` at training.
    """

    networks: Mapping[str, Network]
    specs: Mapping[str, NetworkSpec]

    @property
    def side_px(self) -> int:
        """The side of the images that serve all: that of the largest input, which the others scale down."""
        return max(spec.input_px for spec in self.specs.values())


def load_judged(root: Root, inputs: Inputs) -> Judged:
    """The networks of a benchmark's inputs. Raises RootError where a unit is missing or damaged, ValueError, in one
    line, for an exported folder that is unusable."""
    if inputs.network:
        trained, spec = read_exported(inputs.network)
    else:
        trained, spec = load_network(root, require_manifest(root, "train", inputs.train))
    networks = {"trained": trained, "untrained": untrained_network(spec)}
    specs = {"trained": spec, "untrained": spec}
    if inputs.supervised:
        networks["supervised"], specs["supervised"] = read_exported(inputs.supervised)
    return Judged(networks, specs)
