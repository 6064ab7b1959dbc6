"""Reconstruction: a small decoder draws the image, reduced, from the network's features."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, unit_length
from tasks.train.config import TrainConfig
from tasks.train.distributed import sum_over_ranks
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.objectives.outcome import Outcome, gap_below, mean_cosine_over_ranks

_SIDE_PX = 32
_HIDDEN = 256


class Autoencoder(Objective):
    """Squared error of the decoded image, as a mean over its numbers."""

    def __init__(self, feature_width: int, advice: str) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(feature_width, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, 3 * _SIDE_PX * _SIDE_PX)
        )
        self.advice = advice

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        """The mean over all images of the global batch; no better than the batch's mean image is collapse."""
        targets = functional.adaptive_avg_pool2d(inputs.images, _SIDE_PX).flatten(1)
        features = network.backbone(inputs.images)
        num_numbers = 2 * inputs.num_pairs * targets.shape[1]
        loss = sum_over_ranks((self.decoder(features) - targets).square().sum() / num_numbers)
        sums = sum_over_ranks(torch.cat([targets.sum(dim=0), targets.square().sum()[None]]))
        variance = (sums[-1] - sums[:-1].square().sum() / (2 * inputs.num_pairs)) / num_numbers
        return Outcome(
            loss=loss,
            mean_cosine=mean_cosine_over_ranks(unit_length(features.detach())),
            collapse_gap=gap_below(loss, variance),
        )


def build(config: TrainConfig, network: Network, num_classes: int) -> Autoencoder:
    advice = f"another train.learning_rate (now {config.learning_rate:g}), or pairs from more videos"
    return Autoencoder(network.feature_width, advice)
