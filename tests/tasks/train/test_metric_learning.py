"""The losses that pytorch-metric-learning has too equal its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.train.config import TrainConfig
from tasks.train.negatives import other_groups
from tasks.train.objectives import infonce, ranking

pytest.importorskip(
    "pytorch_metric_learning.losses", reason="pytorch-metric-learning (extra test) or its tqdm is missing"
)

from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import NTXentLoss, TripletMarginLoss
from pytorch_metric_learning.reducers import MeanReducer

_GROUPS = [(0, 1, 2, 3, 4, 5), (0, 0, 1, 1, 1, 2)]


@pytest.mark.parametrize("margin", [0.1, 0.5])
@pytest.mark.parametrize("groups", _GROUPS)
def test_ranking_equals_triplet_margin_on_cosines(margin: float, groups: tuple[int, ...]) -> None:
    """All negatives of each pair, as triplets."""
    allowed, embeddings = other_groups(torch.tensor(groups)), _embeddings(12)
    config = TrainConfig(margin=margin, num_negatives=12, hard_after_step=10)
    triplet_margin = TripletMarginLoss(margin=margin, distance=CosineSimilarity(), reducer=MeanReducer())
    anchors, negatives = allowed.nonzero(as_tuple=True)
    expected = triplet_margin(embeddings, torch.arange(12), (anchors, anchors + 6, negatives))
    loss = ranking.compute_loss(embeddings, allowed, config, 0, 0).loss
    assert float(loss) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("groups", _GROUPS)
def test_infonce_equals_ntxent_in_both_directions(temperature: float, groups: tuple[int, ...]) -> None:
    """Each direction is NT-Xent of one side's embeddings with the other side's as references."""
    allowed, embeddings = other_groups(torch.tensor(groups)), _embeddings(12)
    anchors, positives = embeddings.chunk(2)
    first, second = allowed[:, 6:].nonzero(as_tuple=True)
    own, ntxent = torch.arange(6), NTXentLoss(temperature=temperature)
    expected = [
        ntxent(one, own, (own, own, first, second), ref_emb=other, ref_labels=own)
        for one, other in ((anchors, positives), (positives, anchors))
    ]
    loss = infonce.compute_loss(embeddings, allowed, TrainConfig(temperature=temperature), 0, 0).loss
    assert float(loss) == pytest.approx(float(sum(expected)) / 2, abs=1e-12)


def _embeddings(number: int) -> torch.Tensor:
    drawn = torch.from_numpy(np.random.default_rng(3).normal(size=(number, 5)))
    return drawn / drawn.norm(dim=1, keepdim=True)
