"""How large a network is: parameters and multiply-adds, from its shapes alone; no weight is made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tasks.networks import NETWORKS
from tasks.networks.building import num_parameters
from tasks.networks.network import Network
from tasks.variants import load_variant


@dataclass(frozen=True)
class NetworkSize:
    """One network. `input_px` is the side of the image that the multiply-adds are for.

    Parameters are counted by part; multiply-adds are those of the convolutions and linear layers of one image's
    embedding, the head included.
    """

    name: str
    input_px: int
    feature_width: int
    embedding: int
    backbone_parameters: int
    head_parameters: int
    multiply_adds: int


def network_size(name: str, embedding: int, input_px: int | None = None) -> NetworkSize:
    """The size of a network with an embedding so wide; `input_px`: instead of the network's usual side.

    Raises ValueError for an unknown name.
    """
    module = load_variant(NETWORKS, name, "network")
    with torch.device("meta"):  # shapes without memory
        network: Network = module.build(embedding)
    side = input_px or network.usual_px
    head = num_parameters(network.get_submodule("head"))
    return NetworkSize(
        name,
        side,
        network.feature_width,
        embedding,
        backbone_parameters=num_parameters(network) - head,
        head_parameters=head,
        multiply_adds=_multiply_adds(network, side),
    )


def _multiply_adds(network: Network, side: int) -> int:
    """Of one image: each output of a layer costs as many as it has inputs."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += output.numel() * weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, side, side, device="meta"))
    return total
