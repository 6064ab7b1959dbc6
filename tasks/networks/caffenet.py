"""CaffeNet as in Wang and Gupta (ICCV 2015): rank_scripts/rank_alexnet/imagenet_train.prototxt of their code."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from tasks.networks import LEAST_PX
from tasks.networks.images import SCALE
from tasks.networks.network import Network, unit_length

_POOL5_SIDE = 6


class CaffeNet(Network):
    """Five convolutions (2, 4 and 5 in two groups), pooling before LRN, fc6 of 4096 and fc7 as the embedding.

    227 px inputs give the 6 x 6 pool5 of the paper; other sizes are averaged to it. Both fully connected
    layers end in a ReLU and have no dropout, so that cosines lie in 0 to 1.
    """

    usual_px = 227
    least_px = LEAST_PX["caffenet"]
    bias_rate = 2.0
    channels = "BGR"

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 96, 11, stride=4),
                relu1=nn.ReLU(inplace=True),
                pool1=_pool(),
                norm1=_normalisation(),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
                relu2=nn.ReLU(inplace=True),
                pool2=_pool(),
                norm2=_normalisation(),
                conv3=nn.Conv2d(256, 384, 3, padding=1),
                relu3=nn.ReLU(inplace=True),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
                relu4=nn.ReLU(inplace=True),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
                relu5=nn.ReLU(inplace=True),
                pool5=_pool(),
                fixed5=nn.AdaptiveAvgPool2d(_POOL5_SIDE),
            )
        )
        self.feature_width = 256 * _POOL5_SIDE * _POOL5_SIDE
        self.head = nn.Sequential(
            OrderedDict(
                fc6=nn.Linear(self.feature_width, 4096),
                relu6=nn.ReLU(inplace=True),
                fc7=nn.Linear(4096, embedding),
                relu7=nn.ReLU(inplace=True),
            )
        )

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 -> (B, 9216) float32: pool5, what the paper retrieves by.

        Raises ValueError for images below `least_px`.
        """
        features: torch.Tensor = self.convolutions(self._authors_input(images))
        return features.flatten(1)

    def maps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """conv1 to conv5, pool5 (as `backbone`, but as maps), fc6 and fc7, each after its ReLU, and the embedding."""
        found: dict[str, torch.Tensor] = {}
        current = self._authors_input(images)
        for name, module in self.convolutions.named_children():
            current = module(current)
            if name.startswith("relu"):
                found[f"conv{name[-1]}"] = current
        found["pool5"] = current
        current = current.flatten(1)
        for name, module in self.head.named_children():
            current = module(current)
            if name.startswith("relu"):
                found[f"fc{name[-1]}"] = current
        return found | {"embedding": unit_length(current)}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return unit_length(self.head(self.backbone(images)))

    def _authors_input(self, images: torch.Tensor) -> torch.Tensor:
        """BGR in 0 to 255 minus the mean, as the authors feed it: the initialisers count on that scale."""
        if min(images.shape[2:]) < self.least_px:
            height, width = images.shape[2:]
            raise ValueError(f"input_px: caffenet takes images of {self.least_px} px or more, not {width} x {height}")
        return images.flip(1) * SCALE


def build(embedding: int) -> Network:
    """The network with the authors' initialisers, drawn from torch's current generator."""
    network = CaffeNet(embedding)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layer = name.rsplit(".", 1)[-1]
            assert module.bias is not None, "every layer of CaffeNet has a bias"
            nn.init.normal_(module.weight, std=0.005 if layer.startswith("fc") else 0.01)
            nn.init.constant_(module.bias, 0.0 if layer in {"conv1", "conv3"} else 1.0)
    return network


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds the output's side up


def _normalisation() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
