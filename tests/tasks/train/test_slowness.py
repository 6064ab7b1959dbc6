"""Slowness against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.train.config import TrainConfig
from tasks.train.negatives import other_groups
from tasks.train.objectives.slowness import compute_loss


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_slowness_is_the_mean_squared_distance(pairs: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(size=(2 * pairs, 5))
    embeddings = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    outcome = compute_loss(torch.from_numpy(embeddings), other_groups(torch.arange(pairs)), TrainConfig(), 0, 0)
    squares = [sum((embeddings[i, k] - embeddings[pairs + i, k]) ** 2 for k in range(5)) for i in range(pairs)]
    assert float(outcome.loss) == pytest.approx(sum(squares) / pairs, abs=1e-12)
    assert outcome.positive_cosine is not None
    assert float(outcome.positive_cosine) == pytest.approx(1 - float(outcome.loss) / 2, abs=1e-12)
    assert float(outcome.collapse_gap) == pytest.approx(float(outcome.loss) / 2)


def test_one_embedding_for_all_has_no_loss() -> None:
    outcome = compute_loss(torch.eye(4)[[1] * 6], other_groups(torch.arange(3)), TrainConfig(), 0, 0)
    assert float(outcome.loss) == float(outcome.collapse_gap) == 0
    assert float(outcome.mean_cosine) == 1
