"""A network as those use it who only want its features: images in as they are, one vector each out."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from tasks.networks.images import normalise
from tasks.networks.network import Network
from tasks.networks.weights import NetworkSpec

Layer = Literal["backbone", "embedding"]
LAYERS: tuple[Layer, ...] = get_args(Layer)


class Encoder(nn.Module):
    """One layer of a network, in evaluation mode, with the normalisation of its input inside.

    `name` is the network's in the registry; `width` that of the vectors: F of the backbone, or E of the embedding;
    `input_px` the side of the images that it was trained on.
    """

    def __init__(self, network: Network, spec: NetworkSpec, layer: Layer) -> None:
        super().__init__()
        self.network = network
        self.name = spec.name
        self.layer = layer
        self.input_px = spec.input_px
        self.width = network.feature_width if layer == "backbone" else spec.embedding
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB from 0 to 255, uint8 or floating point -> (B, width) float32."""
        pixels = normalise(images.float())
        features: torch.Tensor = self.network.backbone(pixels) if self.layer == "backbone" else self.network(pixels)
        return features
