"""InfoNCE against a slow reference and a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.train.config import TrainConfig
from tasks.train.negatives import other_groups
from tasks.train.objectives.infonce import compute_loss

_Groups = st.lists(st.integers(0, 3), min_size=2, max_size=7)


@settings(deadline=None)
@given(_Groups, st.integers(0, 99), st.floats(0.02, 5))
def test_infonce_equals_the_slow_reference(groups: list[int], seed: int, temperature: float) -> None:
    embeddings, config = _embeddings(2 * len(groups), seed), TrainConfig(temperature=temperature)
    outcome = compute_loss(embeddings, other_groups(torch.tensor(groups)), config, 0, 0)
    loss, alike_loss, negatives = _reference(embeddings.numpy(), groups, temperature)
    assert float(outcome.loss) == pytest.approx(loss, abs=1e-11)
    if alike_loss > 0:
        assert float(outcome.collapse_gap) == pytest.approx(abs(loss - alike_loss) / alike_loss, abs=1e-11)
    assert outcome.negative_cosine is not None
    assert float(outcome.negative_cosine) == pytest.approx(float(np.mean(negatives or [0.0])), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(_Groups, st.integers(0, 99))
def test_infonce_gradient_is_the_numeric_one(groups: list[int], seed: int) -> None:
    embeddings, allowed = _embeddings(2 * len(groups), seed).requires_grad_(), other_groups(torch.tensor(groups))
    assert torch.autograd.gradcheck(
        lambda tensor: compute_loss(tensor, allowed, TrainConfig(temperature=0.5), 0, 0).loss, embeddings
    )


@settings(deadline=None)
@given(_Groups, st.integers(0, 99))
def test_infonce_does_not_depend_on_the_order_of_pairs(groups: list[int], seed: int) -> None:
    embeddings = _embeddings(2 * len(groups), seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(groups)))
    shuffled = torch.cat([half[order] for half in embeddings.chunk(2)])
    whole = compute_loss(embeddings, other_groups(torch.tensor(groups)), TrainConfig(), 0, 0)
    other = compute_loss(shuffled, other_groups(torch.tensor(groups)[order]), TrainConfig(), 0, 0)
    assert float(whole.loss) == pytest.approx(float(other.loss), abs=1e-12)


def test_infonce_in_closed_form() -> None:
    config, allowed = TrainConfig(temperature=0.5), other_groups(torch.arange(4))
    apart = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    loss = float(compute_loss(apart, allowed, config, 0, 0).loss)
    assert loss == pytest.approx(math.log(1 + 3 * math.exp(-2)))
    alike = torch.eye(4, dtype=torch.float64)[[0] * 8]
    outcome = compute_loss(alike, allowed, config, 0, 0)
    assert float(outcome.loss) == pytest.approx(math.log(4))
    assert float(outcome.collapse_gap) == pytest.approx(0)
    assert float(outcome.mean_cosine) == 1


def test_batch_of_one_group_has_no_loss_and_no_nan() -> None:
    embeddings = _embeddings(6, 0).requires_grad_()
    outcome = compute_loss(embeddings, other_groups(torch.tensor([2, 2, 2])), TrainConfig(), 0, 0)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    assert float(outcome.loss.detach()) == 0
    assert float(outcome.collapse_gap) == 0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


def _embeddings(number: int, seed: int) -> torch.Tensor:
    drawn = torch.from_numpy(np.random.default_rng(seed).normal(size=(number, 5)))
    return drawn / drawn.norm(dim=1, keepdim=True)


def _reference(
    embeddings: np.ndarray[tuple[int, ...], np.dtype[np.float64]], groups: list[int], temperature: float
) -> tuple[float, float, list[float]]:
    """Loss, the loss of one embedding for all and the cosines of negatives; candidate by candidate."""
    pairs = len(groups)
    terms, alike, negatives = [], [], []
    for one in range(pairs):
        for here, there in ((0, pairs), (pairs, 0)):
            cosines = {
                other: float(embeddings[here + one] @ embeddings[there + other])
                for other in range(pairs)
                if other == one or groups[other] != groups[one]
            }
            largest = max(cosines.values())
            total = sum(math.exp((cosine - largest) / temperature) for cosine in cosines.values())
            terms.append(math.log(total) - (cosines[one] - largest) / temperature)
            alike.append(math.log(len(cosines)))
            negatives += [cosine for other, cosine in cosines.items() if other != one]
    return sum(terms) / len(terms), sum(alike) / len(alike), negatives
