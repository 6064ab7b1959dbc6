"""The ranking objective and its negatives against a slow reference."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch

from tasks.train.config import TrainConfig
from tasks.train.negatives import choose_negatives, other_groups, random_scores
from tasks.train.objectives.outcome import mean_cosine
from tasks.train.objectives.ranking import compute_loss

_SEED = 5


@pytest.mark.parametrize(
    ("margin", "num_negatives", "both_hinges", "hard_share", "mining", "groups"),
    itertools.product(
        [0.1, 0.5, 1.0],
        [1, 4, 30],
        [False, True],
        [0.0, 0.5, 1.0],
        ["semi_hard", "hard"],
        [(0, 1, 2, 3, 4, 5), (0, 0, 0, 1, 1, 2), (7, 7, 7, 7, 7, 3)],
    ),
)
def test_ranking_loss_equals_the_slow_reference(
    margin: float,
    num_negatives: int,
    both_hinges: bool,
    hard_share: float,
    mining: Literal["semi_hard", "hard"],
    groups: tuple[int, ...],
) -> None:
    step = 10 if hard_share else 9
    config = TrainConfig(
        margin=margin,
        num_negatives=num_negatives,
        both_hinges=both_hinges,
        hard_after_step=10,
        hard_share=hard_share or 1.0,
        mining=mining,
    )
    embeddings, allowed = _embeddings(2 * len(groups)).requires_grad_(), other_groups(torch.tensor(groups))
    outcome = compute_loss(embeddings, allowed, config, _SEED, step)
    loss, active, negative = _reference(embeddings.detach().numpy(), groups, config, step)
    assert float(outcome.loss.detach()) == pytest.approx(loss, abs=1e-12)
    assert outcome.active_share is not None
    assert float(outcome.active_share) == pytest.approx(active)
    assert outcome.negative_cosine is not None
    assert float(outcome.negative_cosine) == pytest.approx(negative)
    # Gradient, by central differences along a random direction.
    (gradient,) = torch.autograd.grad(outcome.loss, embeddings)
    direction, small = _embeddings(2 * len(groups), seed=1), 1e-7
    ahead, behind = (
        compute_loss(embeddings.detach() + sign * small * direction, allowed, config, _SEED, step).loss
        for sign in (1, -1)
    )
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * small), abs=1e-6)


def test_ranking_loss_in_closed_form() -> None:
    """Positives equal their anchors; the two groups are orthogonal or equal."""
    config = TrainConfig(margin=0.5, num_negatives=1, hard_after_step=0)
    allowed = other_groups(torch.tensor([0, 1]))
    apart = torch.eye(4, dtype=torch.float64)[[0, 1, 0, 1]]
    assert float(compute_loss(apart, allowed, config, _SEED, 0).loss) == 0
    collapsed = torch.eye(4, dtype=torch.float64)[[0, 0, 0, 0]]
    outcome = compute_loss(collapsed, allowed, config, _SEED, 0)
    assert float(outcome.loss) == 0.5
    assert float(outcome.collapse_gap) == 0
    assert float(outcome.mean_cosine) == 1
    assert outcome.active_share is not None
    assert float(outcome.active_share) == 1


def test_batch_of_one_group_has_no_loss_and_no_nan() -> None:
    embeddings = _embeddings(6).requires_grad_()
    outcome = compute_loss(embeddings, other_groups(torch.tensor([2, 2, 2])), TrainConfig(), _SEED, 0)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    assert float(outcome.loss.detach()) == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


def test_negatives_never_share_the_group_and_random_ones_cover_all() -> None:
    groups = torch.tensor([0, 0, 1, 2, 2])
    allowed = other_groups(groups)
    seen = torch.zeros_like(allowed)
    for step in range(200):
        chosen, valid = choose_negatives(random_scores(5, _SEED, step), allowed, 3)
        assert valid.all()
        assert all(len(set(row)) == 3 for row in chosen.tolist())
        seen.scatter_(1, chosen, True)
    assert torch.equal(seen, allowed)


def test_hard_negatives_are_the_nearest() -> None:
    groups = torch.tensor([0, 1, 2])
    scores = torch.tensor([[9.0, 1, 2, 9, 4, 3], [5, 9, 6, 7, 9, 1], [0.3, 0.1, 9, 0.2, 0.4, 9]])
    chosen, _ = choose_negatives(scores, other_groups(groups), 2)
    assert chosen.tolist() == [[4, 5], [3, 2], [4, 0]]


def test_mean_cosine_is_that_of_all_couples() -> None:
    embeddings = _embeddings(7)
    cosines = embeddings @ embeddings.T
    expected = np.mean([float(cosines[i, j]) for i in range(7) for j in range(7) if i != j])
    assert float(mean_cosine(embeddings)) == pytest.approx(expected)


def test_rows_without_length_are_alike() -> None:
    """x / (||x|| + 1e-6) of a dead ReLU is 0, and cosines of 0 are 0."""
    assert float(mean_cosine(torch.zeros(5, 3))) == 1
    half_dead = torch.cat([torch.zeros(2, 4), torch.eye(4)[:2]])
    assert float(mean_cosine(half_dead)) == pytest.approx(1 / 6)


def _embeddings(number: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.from_numpy(np.random.default_rng(seed).normal(size=(number, 5)))
    return drawn / drawn.norm(dim=1, keepdim=True)


def _reference(
    embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    groups: tuple[int, ...],
    config: TrainConfig,
    step: int,
) -> tuple[float, float, float]:
    """Loss, active share and mean negative cosine, triplet by triplet; distances, not cosines."""

    def distance(i: int, j: int) -> float:
        return 1 - float(embeddings[i] @ embeddings[j])

    pairs = len(groups)
    random = random_scores(pairs, _SEED, step).numpy()
    hinges, cosines = [], []
    for anchor in range(pairs):
        candidates = [image for image in range(2 * pairs) if groups[image % pairs] != groups[anchor]]
        candidates.sort(key=lambda image: distance(anchor, image))
        num_hard = math.ceil(config.hard_share * config.num_negatives) if step >= config.hard_after_step else 0
        near = distance(anchor, anchor + pairs) if config.mining == "semi_hard" else -1.0
        hard = [image for image in candidates if distance(anchor, image) > near][:num_hard]
        drawn = sorted(set(candidates) - set(hard), key=lambda image: -random[anchor, image])
        for negative in (hard + drawn)[: config.num_negatives]:
            positive = anchor + pairs
            cosines.append(1 - distance(anchor, negative))
            sides = [anchor, positive] if config.both_hinges else [anchor]
            hinges += [
                max(0.0, distance(anchor, positive) - distance(side, negative) + config.margin) for side in sides
            ]
    return sum(hinges) / len(hinges), float(np.mean(np.array(hinges) > 0)), float(np.mean(cosines))
