"""InfoNCE over pairs (van den Oord, Li and Vinyals, 2018), in both directions as in CLIP (Radford et al., 2021)."""

from __future__ import annotations

import torch

from tasks.networks.network import Network
from tasks.train.config import TrainConfig
from tasks.train.objectives.objective import EmbeddingObjective
from tasks.train.objectives.outcome import Outcome, mean_cosine


def compute_loss(embeddings: torch.Tensor, allowed: torch.Tensor, config: TrainConfig, seed: int, step: int) -> Outcome:
    """Mean of -log softmax(cosine / temperature) at the own partner: anchors among positives and the reverse.

    embeddings: (2P, E) of unit length, anchors first, then their positives; allowed: (P, 2P) bool. The candidates
    of an anchor are its positive and the positives that may be its negatives; those of a positive are its anchor
    and the anchors of which it may be a negative. All of them count: nothing is drawn and nothing is mined.
    """
    anchors, positives = embeddings.chunk(2)
    cosines = anchors @ positives.T
    negatives = allowed[:, len(anchors) :]
    own = torch.eye(len(anchors), dtype=torch.bool, device=embeddings.device)
    logits = (cosines / config.temperature).masked_fill(~(negatives | own), -torch.inf)
    normalisers = torch.stack([logits.logsumexp(dim=1), logits.logsumexp(dim=0)])
    loss = (normalisers - logits.diagonal()).mean()
    # One embedding for all: each of the n candidates has the share 1 / n.
    alike_loss = torch.stack([1 + negatives.sum(dim=1), 1 + negatives.sum(dim=0)]).to(loss).log().mean()
    return Outcome(
        loss=loss,
        mean_cosine=mean_cosine(embeddings.detach()),
        collapse_gap=(loss.detach() - alike_loss).abs() / alike_loss.clamp_min(torch.finfo(loss.dtype).tiny),
        positive_cosine=cosines.diagonal().mean().detach(),
        negative_cosine=((cosines * negatives).sum() / negatives.sum().clamp_min(1)).detach(),
    )


def build(config: TrainConfig, network: Network, num_classes: int) -> EmbeddingObjective:
    """The objective; it has no parameters of its own."""
    advice = (
        f"another train.learning_rate (now {config.learning_rate:g}), another train.temperature "
        f"(now {config.temperature:g}), or pairs from more videos"
    )
    return EmbeddingObjective(compute_loss, config, advice)
