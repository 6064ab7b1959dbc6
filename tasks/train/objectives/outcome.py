"""What an objective tells of one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Outcome:
    """Scalars of one global batch; only `loss` carries a gradient.

    `active_share` of the hinges above 0; `positive_cosine` the mean over pairs, `negative_cosine` over the
    chosen negatives, `mean_cosine` over all couples of images.
    """

    loss: torch.Tensor
    active_share: torch.Tensor
    positive_cosine: torch.Tensor
    negative_cosine: torch.Tensor
    mean_cosine: torch.Tensor


def mean_cosine(embeddings: torch.Tensor) -> torch.Tensor:
    """Mean cosine over all couples of different rows of (N, E) unit embeddings; near 1 is collapse."""
    number = len(embeddings)
    total = embeddings.sum(dim=0).square().sum() - embeddings.square().sum()
    return total / (number * (number - 1))
