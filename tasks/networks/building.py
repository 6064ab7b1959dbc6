"""Networks by name, with weights that are a pure function of the seed."""

from __future__ import annotations

import torch

from tasks.networks import NETWORKS
from tasks.networks.network import Network
from tasks.variants import load_variant


def build_network(name: str, embedding: int, seed: int) -> Network:
    """A network with fresh weights on the CPU; torch's generator of the caller stays as it was.

    `embedding` is E, the width of the embedding. Raises ValueError for an unknown name.
    """
    module = load_variant(NETWORKS, name, "network")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
        network: Network = module.build(embedding)
    return network


def num_parameters(network: torch.nn.Module) -> int:
    """Trained numbers of the network, biases included."""
    return sum(parameter.numel() for parameter in network.parameters())
