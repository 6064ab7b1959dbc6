"""What every objective offers to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tasks.networks.network import Network
from tasks.train.config import TrainConfig
from tasks.train.distributed import gather_pairs
from tasks.train.objectives.outcome import Outcome


@dataclass(frozen=True)
class Inputs:
    """One step of one rank: b of the global batch's B pairs are its own, those of the slice `own`.

    `images`: (2b, 3, S, S) float, as networks take them, anchors first, then their positives, each with its own
    augmentation; `allowed`: (B, 2B) bool, which of all anchors, then positives, may be a pair's negative; `step`
    counts from 0. Where samples are labelled images, `images` is (b, 3, S, S) and `labels` (B,) int64 their classes.
    """

    images: torch.Tensor
    own: slice
    allowed: torch.Tensor
    seed: int
    step: int
    labels: torch.Tensor | None = None

    @property
    def num_pairs(self) -> int:
        """B, of the global batch."""
        return len(self.allowed)


class Objective(nn.Module):
    """A loss with the parameters that it trains beside the network's; `advice` is what to try after a collapse.

    The gradients of its loss, summed over ranks, are those of one process with the whole batch. A loss of gathered
    embeddings owns no parameters, since each rank would give their whole gradient; one with parameters sums the
    terms of its own images, divided by the number of all.
    """

    advice: str

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        raise NotImplementedError


# (2P, E) embeddings of the global batch, (P, 2P) bool of `Inputs.allowed`, configuration, seed, step.
EmbeddingLoss = Callable[[torch.Tensor, torch.Tensor, TrainConfig, int, int], Outcome]


class EmbeddingObjective(Objective):
    """A loss of the embeddings of the global batch, gathered from all ranks."""

    def __init__(self, compute_loss: EmbeddingLoss, config: TrainConfig, advice: str) -> None:
        super().__init__()
        self.compute_loss, self.config, self.advice = compute_loss, config, advice

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        embeddings = gather_pairs(network(inputs.images), inputs.num_pairs)
        return self.compute_loss(embeddings, inputs.allowed, self.config, inputs.seed, inputs.step)
