"""The ridge probe against scikit-learn, on planted features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tasks.evaluate.ridge import STRENGTHS, Scores, fit_probe


def _planted(num_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_rows)
    targets = rng.choice([-1, 1], (num_rows, 3)).astype(np.float32)
    directions = rng.normal(size=(3, 30))
    features = (targets @ directions + 3 * rng.normal(size=(num_rows, 30))) * rng.uniform(0.01, 100, 30) + 5
    features[:, 7] = 4.0
    return features.astype(np.float32), targets, rng.permutation(num_rows) % 2


def _right(targets: np.ndarray) -> object:
    return lambda scores, rows: float(((scores > 0) == (targets[rows] > 0)).mean())


@pytest.mark.parametrize("system", ["rows", "columns"])
@pytest.mark.parametrize("block_rows", [7, 4096])
def test_it_is_ridge_regression(system: str, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluate.ridge._BLOCK_ROWS", block_rows)
    if system == "columns":
        monkeypatch.setattr("tasks.evaluate.ridge._MOST_KERNEL_ROWS", 0)
    features, targets, halves = _planted(50)
    probe = fit_probe(features, targets, halves, _right(targets))
    scale = features.astype(np.float64).std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(scale > 1e-3, scale, 1)
    assert probe.strength in STRENGTHS
    expected = Ridge(probe.strength * 30).fit(standard, targets).predict(standard)
    assert probe.scores(features) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("system", ["rows", "columns"])
def test_the_strength_is_the_best_between_halves(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every half is asked by fits of the other one alone, weak to strong."""
    if system == "columns":
        monkeypatch.setattr("tasks.evaluate.ridge._MOST_KERNEL_ROWS", 0)
    features, targets, halves = _planted(40)
    asked: list[tuple[np.ndarray, Scores]] = []

    def metric(scores: Scores, rows: np.ndarray) -> float:
        asked.append((rows, scores))
        return float(len(asked) in (2, 5))

    probe = fit_probe(features, targets, halves, metric)
    assert probe.strength == STRENGTHS[1]
    scale = features.astype(np.float64).std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(scale > 1e-3, scale, 1)
    for number, (rows, scores) in enumerate(asked):
        half = number // len(STRENGTHS)
        assert rows.tolist() == np.flatnonzero(halves != half).tolist()
        mine = halves == half
        model = Ridge(STRENGTHS[number % len(STRENGTHS)] * 30, fit_intercept=False)
        expected = model.fit(standard[mine], (targets - targets.mean(axis=0))[mine]).predict(standard[rows])
        assert scores == pytest.approx(expected + targets.mean(axis=0), abs=1e-3)
