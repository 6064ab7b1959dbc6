"""The linear probe on planted features."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluate.probe import STRENGTHS, fit_probe


def _planted(seed: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.tile(np.arange(3), 60)
    directions = np.eye(3, 10) * shift
    features = (directions[classes] + rng.normal(size=(180, 10))) * rng.uniform(0.01, 100, 10)
    return features.astype(np.float32), classes, np.repeat(np.arange(6), 30)


def test_planted_classes_are_found_and_noise_is_not() -> None:
    features, classes, groups = _planted(0, shift=8)
    model, strength = fit_probe(features[:120], classes[:120], groups[:120])
    assert strength in STRENGTHS
    assert (model.predict(features[120:]) == classes[120:]).mean() > 0.97
    noise, classes, groups = _planted(1, shift=0)
    model, _ = fit_probe(noise[:120], classes[:120], groups[:120])
    assert (model.predict(noise[120:]) == classes[120:]).mean() == pytest.approx(1 / 3, abs=0.2)


def test_the_strength_is_chosen_over_whole_groups() -> None:
    # Each video has a mark of its own that gives its class away: only a choice by item would trust it.
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 10)
    classes = groups % 2
    marks = np.eye(12)[groups] * 5
    weak = (classes[:, None] * 2 - 1) * 0.8 + rng.normal(size=(120, 8))
    features = np.hstack([marks, weak]).astype(np.float32)
    model, _ = fit_probe(features, classes, groups)
    fresh = np.hstack([np.zeros((200, 12)), np.repeat([[-0.8], [0.8]], 100, axis=0) + rng.normal(size=(200, 8))])
    assert (model.predict(fresh.astype(np.float32)) == np.repeat([0, 1], 100)).mean() > 0.9


def test_few_videos_take_the_fixed_strength() -> None:
    features, classes, _ = _planted(3, shift=4)
    assert fit_probe(features, classes, np.repeat([0, 1], 90))[1] == STRENGTHS[1]
