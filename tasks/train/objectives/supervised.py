"""Cross-entropy on labels: the line above, for a network that is told what its images show."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, unit_length
from tasks.train.config import TrainConfig
from tasks.train.distributed import sum_over_ranks
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.objectives.outcome import Outcome, gap_below, mean_cosine_over_ranks


class Supervised(Objective):
    """A linear classifier on the backbone's pooled features, which are what is handed on to other tasks."""

    def __init__(self, feature_width: int, num_classes: int, advice: str) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_width, num_classes)
        self.advice = advice

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        """Mean cross-entropy over the images of the global batch; no better than the shares of its classes is
        collapse."""
        assert inputs.labels is not None, "it is given labelled images"
        features = network.backbone(inputs.images)
        logits = self.classifier(features)
        summed = functional.cross_entropy(logits, inputs.labels[inputs.own], reduction="sum")
        loss = sum_over_ranks(summed / len(inputs.labels))
        shares = functional.one_hot(inputs.labels, logits.shape[1]).to(loss).mean(dim=0)
        guess = torch.special.entr(shares).sum()
        return Outcome(
            loss=loss,
            mean_cosine=mean_cosine_over_ranks(unit_length(features.detach())),
            collapse_gap=gap_below(loss, guess),
        )


def build(config: TrainConfig, network: Network, num_classes: int) -> Supervised:
    advice = f"another train.learning_rate (now {config.learning_rate:g}), or more images of each class"
    return Supervised(network.feature_width, num_classes, advice)
