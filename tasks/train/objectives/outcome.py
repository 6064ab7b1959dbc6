"""What an objective tells of one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tasks.train.distributed import sum_over_ranks

_SHORT = 0.5  # squared length of a unit vector is 1, and about 0 where x / (||x|| + 1e-6) met x = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Scalars of one global batch, the same on every rank; only `loss` carries a gradient.

    `mean_cosine` over all couples of images: near 1 is collapse. `collapse_gap`: how far the objective's loss lies
    from what one embedding for all images gives, as a share of a scale that the objective names. `active_share` of
    the hinges above 0; `positive_cosine` the mean over pairs, `negative_cosine` over the negatives; each None where
    the objective has none.
    """

    loss: torch.Tensor
    mean_cosine: torch.Tensor
    collapse_gap: torch.Tensor
    active_share: torch.Tensor | None = None
    positive_cosine: torch.Tensor | None = None
    negative_cosine: torch.Tensor | None = None


def gap_below(loss: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
    """`collapse_gap` where one embedding for all gives a loss of `guess`: how far below it `loss` lies, as a share."""
    gap: torch.Tensor = (1 - loss.detach() / guess.clamp_min(torch.finfo(loss.dtype).tiny)).clamp_min(0)
    return gap


def mean_cosine(embeddings: torch.Tensor) -> torch.Tensor:
    """Mean cosine over all couples of different rows of (N, E) unit embeddings; near 1 is collapse.

    Rows of length 0, which a dead ReLU gives, are alike too: a couple of them counts as 1.
    """
    return _from_sums(embeddings.sum(dim=0), _counts(embeddings))


def mean_cosine_over_ranks(local: torch.Tensor) -> torch.Tensor:
    """`mean_cosine` of the rows (n, E) of all ranks together."""
    sums = sum_over_ranks(torch.cat([local.sum(dim=0), _counts(local)]))
    return _from_sums(sums[:-3], sums[-3:])


def _counts(embeddings: torch.Tensor) -> torch.Tensor:
    """(3,): the sum of squares, how many rows have no length, and how many there are."""
    short = (embeddings.square().sum(dim=1) < _SHORT).sum()
    return torch.stack([embeddings.square().sum(), short.to(embeddings), embeddings.new_tensor(len(embeddings))])


def _from_sums(row_sum: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    squares, short, number = counts
    total = row_sum.square().sum() - squares + short * (short - 1)
    mean: torch.Tensor = total / (number * (number - 1))
    return mean
