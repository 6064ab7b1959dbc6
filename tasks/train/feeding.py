"""How a batch goes through the network: in parts, for memory, and in the chosen precision, for speed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from tasks.networks.network import Network
from tasks.train.config import TrainConfig


class FedNetwork(Network):
    """A network as an objective calls it; its outputs and gradients are those of the network itself.

    `train.accumulate` parts: gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory
    Limited Setup", 2021). No part keeps what its backward pass needs. Once the loss of the whole batch has given the
    gradient of a part's outputs, the part goes through the network again, with the random numbers that it drew before,
    and backward. So memory is that of one part beside images and embeddings, and every image still has its negatives
    in the whole global batch, at the price of a second forward pass. Where the parts end changes the order of sums,
    and by that the last bits.

    `train.precision` bfloat16: convolutions and matrix products of the forward pass in bfloat16 (autocast); weights,
    outputs and everything after them stay float32.
    """

    def __init__(self, network: Network, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.feature_width = network.feature_width

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        return self._feed(self.network.backbone, images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._feed(self.network, images)

    def _feed(self, layers: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        def apply(part: torch.Tensor) -> torch.Tensor:
            if self.config.precision == "float32":
                return layers(part)
            with torch.autocast(part.device.type, dtype=torch.bfloat16):
                return layers(part).float()

        if self.config.accumulate == 1:
            return apply(images)
        parts = [checkpoint(apply, part, use_reentrant=False) for part in images.chunk(self.config.accumulate)]
        return torch.cat(parts)
