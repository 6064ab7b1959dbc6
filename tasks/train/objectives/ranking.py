"""The ranking hinge on cosine distance (Wang and Gupta, ICCV 2015, equation of the triplet loss)."""

from __future__ import annotations

import math

import torch

from tasks.networks.network import Network
from tasks.train.config import TrainConfig
from tasks.train.negatives import choose_negatives, hard_first, random_scores
from tasks.train.objectives.objective import EmbeddingObjective
from tasks.train.objectives.outcome import Outcome, mean_cosine


def compute_loss(embeddings: torch.Tensor, allowed: torch.Tensor, config: TrainConfig, seed: int, step: int) -> Outcome:
    """Mean of max(0, D(a, p) - D(a, n) + margin) over the chosen triplets of a global batch, D = 1 - cosine.

    embeddings: (2P, E) of unit length, anchors first, then their positives; allowed: (P, 2P) bool; `step`
    counts from 0. Negatives are `num_negatives` of the allowed images: random ones before `hard_after_step`;
    from then on a share `hard_share` of them are the nearest to the anchor (1: the paper's top 4, from
    secondary sources; 0.5: the authors' code, which draws its two from the nearest four). Where the nearest
    negatives are nearer than the positives, one embedding for all has the lower loss, and a young network
    falls into it; so "semi_hard" (Schroff et al., CVPR 2015) takes the nearest that are not. `both_hinges` adds
    max(0, D(a, p) - D(p, n) + margin) for the same negatives, as rank_hard_loss_layer.cpp does. The sum is
    divided by the number of hinges, active or not,
    which is the authors' fixed count wherever the batch holds enough negatives. Their candidates are
    only images whose hinge is above 0; here those below may be drawn too and add 0.
    """
    anchors, positives = embeddings.chunk(2)
    to_anchors = anchors @ embeddings.T
    positive_cosine = (anchors * positives).sum(dim=1)
    scores = random_scores(len(anchors), seed, step).to(embeddings.device, embeddings.dtype)
    if step >= config.hard_after_step:
        cosines = to_anchors.detach()
        candidates = (
            allowed & (cosines < positive_cosine.detach()[:, None]) if config.mining == "semi_hard" else allowed
        )
        scores = hard_first(scores, cosines, candidates, math.ceil(config.hard_share * config.num_negatives))
    chosen, valid = choose_negatives(scores, allowed, config.num_negatives)
    negative_cosine = to_anchors.gather(1, chosen)
    differences = [negative_cosine - positive_cosine[:, None]]
    if config.both_hinges:
        differences.append((positives @ embeddings.T).gather(1, chosen) - positive_cosine[:, None])
    hinges = torch.stack([(difference + config.margin).clamp_min(0) * valid for difference in differences])
    num_hinges = (valid.sum() * len(differences)).clamp_min(1)
    loss = hinges.sum() / num_hinges
    return Outcome(
        loss=loss,
        active_share=((hinges > 0).sum() / num_hinges).detach(),
        positive_cosine=positive_cosine.mean().detach(),
        negative_cosine=((negative_cosine * valid).sum() / valid.sum().clamp_min(1)).detach(),
        mean_cosine=mean_cosine(embeddings.detach()),
        collapse_gap=(loss.detach() - config.margin).abs() / config.margin,
    )


def build(config: TrainConfig, network: Network, num_classes: int) -> EmbeddingObjective:
    """The objective; it has no parameters of its own."""
    advice = (
        f"another train.learning_rate (now {config.learning_rate:g}), a later train.hard_after_step "
        f"(now {config.hard_after_step}), or pairs from more videos"
    )
    return EmbeddingObjective(compute_loss, config, advice)
