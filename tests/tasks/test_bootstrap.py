"""Cluster bootstrap against every possible resample, SciPy and the closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tasks.bootstrap import cluster_interval


def test_interval_matches_the_enumeration_of_every_resample() -> None:
    rng = np.random.default_rng(1)
    sizes = [3, 1, 7, 2, 5]
    clusters = np.repeat(np.arange(5), sizes)
    values = rng.random(len(clusters))
    sums = [values[clusters == each].sum() for each in range(5)]
    every = [
        sum(sums[each] for each in draw) / sum(sizes[each] for each in draw)
        for draw in itertools.product(range(5), repeat=5)
    ]
    found = cluster_interval(values, clusters, samples=60_000, seed=0)
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(every, [0.025, 0.975]).tolist(), abs=0.004)


def test_single_items_as_clusters_match_scipy() -> None:
    values = np.random.default_rng(2).random(40)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    found = cluster_interval(values, np.arange(40), samples=20_000, seed=4)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.004)


def test_many_equal_clusters_match_the_closed_form() -> None:
    rng = np.random.default_rng(5)
    means = rng.normal(size=300)
    values = np.repeat(means, 4)  # four copies a cluster: 1,200 items hold only 300 observations
    found = cluster_interval(values, np.repeat(np.arange(300), 4), samples=20_000, seed=6)
    half = 1.96 * means.std() / np.sqrt(300)
    assert found.low == pytest.approx(means.mean() - half, abs=0.006)
    assert found.high == pytest.approx(means.mean() + half, abs=0.006)


def test_resampling_items_instead_of_videos_would_be_too_narrow() -> None:
    rng = np.random.default_rng(7)
    values = np.repeat(rng.random(10), 50)
    by_video = cluster_interval(values, np.repeat(np.arange(10), 50), samples=2000, seed=8)
    by_item = cluster_interval(values, np.arange(500), samples=2000, seed=8)
    assert by_video.low is not None
    assert by_video.high is not None
    assert by_item.low is not None
    assert by_item.high is not None
    assert by_video.high - by_video.low > 4 * (by_item.high - by_item.low)


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = np.random.default_rng(9).random(30), np.repeat(np.arange(6), 5)
    whole = cluster_interval(values, clusters, samples=500, seed=10)
    monkeypatch.setattr("tasks.bootstrap._BLOCK", 60)
    assert cluster_interval(values, clusters, samples=500, seed=10) == whole


def test_one_cluster_gives_no_interval_and_no_values_are_an_error() -> None:
    found = cluster_interval(np.ones(5), np.zeros(5, int), samples=100, seed=0)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    with pytest.raises(ValueError, match="0 values"):
        cluster_interval(np.zeros(0), np.zeros(0, int), samples=100, seed=0)
