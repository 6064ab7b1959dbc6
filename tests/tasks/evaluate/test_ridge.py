"""The ridge probe against scikit-learn, on planted features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tasks.evaluate.ridge import STRENGTHS, Metric, Scores, draw_halves, fit_probe

WIDTH = 30


def _planted(num_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, WIDTH), one of them constant, targets (N, 3), and the features standardised."""
    rng = np.random.default_rng(num_rows)
    targets = rng.choice([-1, 1], (num_rows, 3)).astype(np.float32)
    directions = rng.normal(size=(3, WIDTH))
    features = (targets @ directions + 3 * rng.normal(size=(num_rows, WIDTH))) * rng.uniform(0.01, 100, WIDTH) + 5
    features[:, 7] = 4.0
    scale = np.where(np.arange(WIDTH) == 7, 1, features.std(axis=0))
    return features.astype(np.float32), targets, (features - features.mean(axis=0)) / scale


def _right(targets: np.ndarray) -> Metric:
    return lambda scores, rows: float(((scores > 0) == (targets[rows] > 0)).mean())


@pytest.mark.parametrize("num_rows", [20, 80])
@pytest.mark.parametrize("block_rows", [7, 4096])
def test_it_is_ridge_regression(num_rows: int, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fewer rows than features, and of more."""
    monkeypatch.setattr("tasks.evaluate.ridge._BLOCK_ROWS", block_rows)
    features, targets, standard = _planted(num_rows)
    probe = fit_probe(features, targets, draw_halves(num_rows, 0), _right(targets))
    assert probe.strength in STRENGTHS
    expected = Ridge(probe.strength * WIDTH).fit(standard, targets).predict(standard)
    assert probe.scores(features) == pytest.approx(expected, abs=1e-3)


def test_the_strength_is_the_best_between_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every half is asked by fits of the other one alone, from weak to strong; rows of neither half are not."""
    monkeypatch.setattr("tasks.evaluate.ridge.MOST_CHOOSING", 40)
    features, targets, standard = _planted(60)
    halves = draw_halves(60, 0)
    assert np.bincount(halves + 1).tolist() == [20, 20, 20]
    asked: list[tuple[np.ndarray, Scores]] = []

    def metric(scores: Scores, rows: np.ndarray) -> float:
        asked.append((rows, scores))
        return float(len(asked) in (2, 5))

    assert fit_probe(features, targets, halves, metric).strength == STRENGTHS[1]
    mean = targets.mean(axis=0)
    for number, (rows, scores) in enumerate(asked):
        half = number // len(STRENGTHS)
        assert rows.tolist() == np.flatnonzero(halves == 1 - half).tolist()
        mine = halves == half
        model = Ridge(STRENGTHS[number % len(STRENGTHS)] * WIDTH, fit_intercept=False)
        expected = model.fit(standard[mine], targets[mine] - mean).predict(standard[rows])
        assert scores == pytest.approx(expected + mean, abs=1e-3)
