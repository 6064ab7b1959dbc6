"""A small convolutional network for CPUs, for inputs of 64 to 96 px."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, he_convolutions, unit_length

_WIDTHS = (24, 48, 96, 192)
_GROUPS = 8
_GRID = 2  # the probed features are means over quarters of the map: where a part lies tells a shape


class Small(Network):
    """Four convolutions of stride 2 with GroupNorm (BatchNorm cannot be synchronised between CPU ranks).

    A 64 px input ends as a 4 x 4 map. The embedding is a two-layer head over its mean, so that the
    features before it keep what the objective would make them forget.
    """

    usual_px = 64

    def __init__(self, embedding: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for index, width in enumerate(_WIDTHS):
            size = 5 if index == 0 else 3
            convolution = nn.Conv2d(before, width, size, stride=2, padding=size // 2, bias=False)
            layers += [convolution, nn.GroupNorm(_GROUPS, width), nn.ReLU(inplace=True)]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.feature_width = before * _GRID**2
        self.head = nn.Sequential(nn.Linear(before, before), nn.ReLU(inplace=True), nn.Linear(before, embedding))

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        return functional.adaptive_avg_pool2d(self.convolutions(images), _GRID).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.convolutions(images)
        return unit_length(self.head(features.mean(dim=(2, 3))))


def build(embedding: int) -> Network:
    """The network with fresh weights, drawn from torch's current generator."""
    return he_convolutions(Small(embedding))
