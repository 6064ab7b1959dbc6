"""Choosing negatives among the images of a batch."""

from __future__ import annotations

import torch

from tasks.train.randomness import NEGATIVES, uniforms


def other_groups(groups: torch.Tensor) -> torch.Tensor:
    """(P,) group numbers -> (P, 2P) bool: which images (anchors, then positives) may be a pair's negative.

    Near-duplicate videos share a group, so a negative never shows the anchor's video.
    """
    return groups[:, None] != torch.cat([groups, groups])[None]


def allowed_images(groups: torch.Tensor, far_away: torch.Tensor | None) -> torch.Tensor:
    """`other_groups`, and the images of pairs of which (P, P) bool `far_away` says that they show another thing."""
    allowed = other_groups(groups)
    return allowed if far_away is None else allowed | far_away.repeat(1, 2)


def random_scores(num_pairs: int, seed: int, step: int) -> torch.Tensor:
    """(P, 2P) float64 in [0, 1), the same on every rank: the highest make a random choice."""
    rows = torch.arange(num_pairs)[:, None].numpy()
    columns = torch.arange(2 * num_pairs)[None].numpy()
    return torch.from_numpy(uniforms(NEGATIVES, seed, step, rows, columns))


def choose_negatives(scores: torch.Tensor, allowed: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` highest-scoring allowed images of each pair.

    scores (P, 2P) float and allowed (P, 2P) bool -> indices (P, K) int64 and valid (P, K) bool, where K is
    `count` or 2P if that is less; a pair with fewer allowed images has entries that are not valid.
    """
    masked = scores.masked_fill(~allowed, -torch.inf)
    best = masked.topk(min(count, scores.shape[1]), dim=1)
    return best.indices, best.values > -torch.inf


def hard_first(scores: torch.Tensor, cosines: torch.Tensor, allowed: torch.Tensor, num_hard: int) -> torch.Tensor:
    """Scores that put the `num_hard` allowed images with the highest cosine first, by rank, and the others after.

    All (P, 2P); scores lie in [0, 1), as `random_scores` gives them.
    """
    nearest, valid = choose_negatives(cosines, allowed, num_hard)
    ranks = torch.arange(nearest.shape[1], 0, -1, device=scores.device, dtype=scores.dtype)
    return scores.scatter_add(1, nearest, ranks * valid)
