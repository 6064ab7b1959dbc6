"""ResNet-18 (He et al., CVPR 2016), written out, with GroupNorm."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, he_convolutions, unit_length

_WIDTHS = (64, 128, 256, 512)
_STEM = 4  # modules before the first block
_GROUPS = 32  # the default of Wu and He, "Group Normalization" (ECCV 2018)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is projected where the width or the side changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            projection = nn.Conv2d(before, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.GroupNorm(_GROUPS, width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, before, H, W) float32 -> (B, width, H / stride, W / stride) float32."""
        inner = functional.relu(self.norm1(self.conv1(images)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(images))


class ResNet18(Network):
    """The standard layers, GroupNorm in place of BatchNorm (which cannot be synchronised between CPU ranks).

    A 224 px input ends as a 7 x 7 map, one of 32 px as a single cell. The features are its mean, and the embedding
    is a two-layer head over them, so that they keep what the objective would make them forget.
    """

    usual_px = 224

    def __init__(self, embedding: int) -> None:
        super().__init__()
        stem = nn.Conv2d(3, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        layers: list[nn.Module] = [stem, nn.GroupNorm(_GROUPS, _WIDTHS[0]), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        before = _WIDTHS[0]
        for index, width in enumerate(_WIDTHS):
            layers += [Block(before, width, stride=2 if index else 1), Block(width, width, stride=1)]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.feature_width = before
        self.head = nn.Sequential(nn.Linear(before, before), nn.ReLU(inplace=True), nn.Linear(before, embedding))

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.convolutions(images)
        return features.mean(dim=(2, 3))

    def maps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """conv1 (the stem) and layer1 to layer4 of two blocks, each after its last ReLU, fc1, and the embedding."""
        found: dict[str, torch.Tensor] = {}
        current = found["conv1"] = self.convolutions[:3](images)
        current = self.convolutions[3](current)
        for number in range(len(_WIDTHS)):
            first = _STEM + 2 * number
            current = found[f"layer{number + 1}"] = self.convolutions[first : first + 2](current)
        found["fc1"] = self.head[:2](current.mean(dim=(2, 3)))
        return found | {"embedding": unit_length(self.head[2:](found["fc1"]))}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return unit_length(self.head(self.backbone(images)))


def build(embedding: int) -> Network:
    """The network with fresh weights, drawn from torch's current generator."""
    return he_convolutions(ResNet18(embedding))
