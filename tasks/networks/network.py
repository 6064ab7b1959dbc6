"""What every network offers: one interface for training and for the probes."""

from __future__ import annotations

import torch
from torch import nn


class Network(nn.Module):
    """A patch encoder; B images of any size from `least_px` on, as `tasks.networks.images.to_tensor` gives them.

    `feature_width` is F of `backbone`; `usual_px` the side of the inputs that the layers were laid out for;
    `bias_rate` multiplies the learning rate of biases; `channels` is their order in the first convolution.
    """

    feature_width: int
    usual_px: int
    least_px: int = 32
    bias_rate: float = 1.0
    channels: str = "RGB"

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 -> (B, F) float32: pooled features of the last convolution, for probes."""
        raise NotImplementedError

    def maps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, H, W) float32 -> the activations of every layer by its name, from the first to the last.

        Those of convolutions are maps (B, C, h, w), those of the head vectors (B, F); the last is the embedding.
        """
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 -> (B, E) float32: embeddings of unit length."""
        raise NotImplementedError


def he_convolutions(network: Network) -> Network:
    """The network with He initialisation of its convolutions, drawn from torch's current generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def unit_length(embeddings: torch.Tensor) -> torch.Tensor:
    """x / (||x|| + 1e-6) over the last axis, as in the authors' norm_layer.cpp; bfloat16 becomes float32 first."""
    if embeddings.dtype == torch.bfloat16:  # its 8 bits would leave lengths 0.3 % from 1
        embeddings = embeddings.float()
    # At exactly 0 the norm's gradient is undefined; torch gives 0 there, and the sum stays finite.
    length: torch.Tensor = embeddings.norm(dim=-1, keepdim=True)
    return embeddings / (length + 1e-6)
