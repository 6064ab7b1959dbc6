"""Slowness alone: what is near in time is near in the embedding (Wiskott and Sejnowski, 2002), with nothing against it.

One embedding for all images has no loss, so training collapses into it: the reason why the other objectives rank,
contrast or reconstruct.
"""

from __future__ import annotations

import torch

from tasks.networks.network import Network
from tasks.train.config import TrainConfig
from tasks.train.objectives.objective import EmbeddingObjective
from tasks.train.objectives.outcome import Outcome, mean_cosine

_UNRELATED = 2.0  # squared distance of orthogonal unit vectors


def compute_loss(embeddings: torch.Tensor, allowed: torch.Tensor, config: TrainConfig, seed: int, step: int) -> Outcome:
    """Mean squared distance of anchor and positive; embeddings: (2P, E) of unit length, anchors first."""
    anchors, positives = embeddings.chunk(2)
    loss = (anchors - positives).square().sum(dim=1).mean()
    return Outcome(
        loss=loss,
        mean_cosine=mean_cosine(embeddings.detach()),
        collapse_gap=loss.detach() / _UNRELATED,
        positive_cosine=(anchors * positives).sum(dim=1).mean().detach(),
    )


def build(config: TrainConfig, network: Network, num_classes: int) -> EmbeddingObjective:
    advice = "train.objective=ranking or infonce: slowness has no negatives, and one embedding for all is its optimum"
    return EmbeddingObjective(compute_loss, config, advice)
