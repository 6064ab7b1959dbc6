"""Plain convolutional networks for CPUs, for inputs of 64 to 96 px: what `small` and `medium` are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, he_convolutions, unit_length

_GROUPS = 8
_BLOCK = 3  # modules of one convolution: itself, its normalisation and its ReLU
# The probed features are means over the fields of a grid, of the last three convolutions: where a part lies tells a
# shape, and the earlier ones keep colour and texture. Chosen between the halves of the training images of
# `make learn`; of the last convolution of `small` alone CIFAR-10 accuracy was 5.6 points lower.
_GRIDS = (3, 3, 2)


class Plain(Network):
    """Convolutions of some widths and strides with GroupNorm (BatchNorm cannot be synchronised between CPU ranks).

    The embedding is a two-layer head over the mean of the last map, so that the features before it keep what the
    objective would make them forget.
    """

    usual_px = 64

    def __init__(self, widths: Sequence[int], strides: Sequence[int], embedding: int) -> None:
        super().__init__()
        self._depth = len(widths)
        layers: list[nn.Module] = []
        before = 3
        for index, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            size = 5 if index == 0 else 3
            convolution = nn.Conv2d(before, width, size, stride=stride, padding=size // 2, bias=False)
            layers += [convolution, nn.GroupNorm(_GROUPS, width), nn.ReLU(inplace=True)]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.feature_width = sum(width * side**2 for width, side in zip(widths[-len(_GRIDS) :], _GRIDS, strict=True))
        self.head = nn.Sequential(nn.Linear(before, before), nn.ReLU(inplace=True), nn.Linear(before, embedding))

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        """The last three convolutions, each averaged over the fields of its grid."""
        maps = self._convolved(images)[-len(_GRIDS) :]
        pooled = [functional.adaptive_avg_pool2d(found, side) for found, side in zip(maps, _GRIDS, strict=True)]
        return torch.cat([found.flatten(1) for found in pooled], dim=1)

    def maps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """conv1 to the last convolution and fc1, each after its ReLU, and the embedding."""
        maps = self._convolved(images)
        hidden = self.head[:2](maps[-1].mean(dim=(2, 3)))
        named = {f"conv{number}": found for number, found in enumerate(maps, start=1)}
        return named | {"fc1": hidden, "embedding": unit_length(self.head[2:](hidden))}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.convolutions(images)
        return unit_length(self.head(features.mean(dim=(2, 3))))

    def _convolved(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The map of each convolution, after its ReLU."""
        found = [images]
        for number in range(self._depth):
            found.append(self.convolutions[number * _BLOCK : (number + 1) * _BLOCK](found[-1]))
        return found[1:]


def build_plain(widths: Sequence[int], strides: Sequence[int], embedding: int) -> Network:
    """The network with fresh weights, drawn from torch's current generator."""
    return he_convolutions(Plain(widths, strides, embedding))
