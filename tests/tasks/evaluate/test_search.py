"""Blocked cosine search against brute force in plain Python, scikit-learn and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tasks.evaluate.search import (
    chance_average_precision,
    class_retrieval,
    nearest,
    nearest_rows,
    normalised,
    positive_ranks,
    ranks_in_video,
)
from tasks.far_away import Paths, far_away


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    dot = math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))
    return dot / (math.hypot(*first.tolist()) * math.hypot(*second.tolist()))


def _slow_ranks(anchors: np.ndarray, positives: np.ndarray, groups: np.ndarray) -> list[int]:
    ranks = []
    for query in range(len(anchors)):
        own = _cosine(anchors[query], positives[query])
        others = [each for each in range(len(positives)) if groups[each] != groups[query]]
        ranks.append(1 + sum(_cosine(anchors[query], positives[each]) >= own for each in others))
    return ranks


@pytest.mark.parametrize("block_cells", [1, 50, 1 << 23])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_match_brute_force(seed: int, block_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluate.search._BLOCK_CELLS", block_cells)
    rng = np.random.default_rng(seed)
    anchors = rng.normal(size=(40, 6)).astype(np.float32)
    positives = (anchors + rng.normal(size=(40, 6))).astype(np.float32)
    groups = rng.integers(0, 7, 40)
    assert positive_ranks(anchors, positives, groups).tolist() == _slow_ranks(anchors, positives, groups)


def test_a_collapsed_network_ranks_last() -> None:
    same = np.tile(np.random.default_rng(0).normal(size=(1, 33)).astype(np.float32), (20, 1))
    groups = np.repeat(np.arange(5), 4)
    assert positive_ranks(same, same, groups).tolist() == [17] * 20
    assert positive_ranks(np.zeros_like(same), np.zeros_like(same), groups).tolist() == [17] * 20


@pytest.mark.parametrize("seed", range(3))
def test_ranks_within_a_video_match_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = rng.normal(size=(40, 6)).astype(np.float32)
    positives = (anchors + rng.normal(size=(40, 6))).astype(np.float32)
    centres = rng.uniform(0, 300, (40, 2, 2))
    boxes = np.concatenate([centres, np.full((40, 2, 1), 40.0)], axis=2).astype(np.float32)
    starts = rng.integers(0, 60, 40)
    frames = np.stack([starts, starts + 30], axis=1).astype(np.int32)
    paths = Paths(rng.integers(0, 4, 40).astype(np.int32), frames, boxes)
    other = far_away(paths)
    same = np.ones((40, 6), np.float32)
    found, rivals = ranks_in_video({"own": anchors, "same": same}, {"own": positives, "same": same}, paths)
    for query in range(40):
        rest = [each for each in range(40) if other[query, each]]
        own = _cosine(anchors[query], positives[query])
        assert rivals[query] == len(rest)
        assert found["own"][query] == 1 + sum(_cosine(anchors[query], positives[each]) >= own for each in rest)
    assert np.array_equal(found["same"], 1 + rivals), "a collapsed network ranks last"


def test_scale_of_features_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    anchors, positives = rng.normal(size=(2, 30, 5)).astype(np.float32)
    scales = rng.uniform(0.1, 10, (30, 1)).astype(np.float32)
    groups = np.arange(30)
    assert (
        positive_ranks(anchors * scales, positives, groups).tolist()
        == positive_ranks(anchors, positives, groups).tolist()
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_groups=st.integers(1, 5), depth=st.integers(1, 12))
def test_class_retrieval_matches_scikit_learn(seed: int, num_groups: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(24, 4)).astype(np.float32)
    classes, groups = rng.integers(0, 3, 24), rng.integers(0, num_groups, 24)
    precision, average = class_retrieval(features, classes, groups, depth)
    for query in range(24):
        others = np.flatnonzero(groups != groups[query])
        relevant = classes[others] == classes[query]
        if not relevant.any():
            assert np.isnan(precision[query])
            assert np.isnan(average[query])
            continue
        cosines = np.asarray([_cosine(features[query], features[each]) for each in others])
        best = np.argsort(-cosines)[:depth]
        assert precision[query] == pytest.approx(relevant[best].mean())
        assert average[query] == pytest.approx(average_precision_score(relevant, cosines), abs=1e-6)


def test_ties_count_against_class_retrieval() -> None:
    features = np.ones((6, 3), np.float32)
    classes, groups = np.asarray([0, 0, 1, 1, 1, 0]), np.arange(6)
    precision, average = class_retrieval(features, classes, groups, 2)
    assert precision[0] == 0
    assert average[0] == pytest.approx((1 / 4 + 2 / 5) / 2)


@pytest.mark.parametrize(("relevant", "gallery"), [(1, 1), (1, 9), (4, 9), (9, 9), (3, 40)])
def test_chance_of_average_precision_matches_simulation(relevant: int, gallery: int) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(gallery) < relevant
    drawn = []
    for _ in range(4000):
        hits = rng.permutation(truth)
        ranks = np.flatnonzero(hits) + 1
        drawn.append((np.arange(1, relevant + 1) / ranks).mean())
    assert chance_average_precision(relevant, gallery) == pytest.approx(np.mean(drawn), abs=0.01)


def test_nearest_obeys_the_mask_and_marks_what_is_missing() -> None:
    gallery = np.eye(4, dtype=np.float32)
    allowed = np.asarray([[False, True, True, False]])
    query = np.asarray([[0.9, 0.1, 0.5, 0.0]], np.float32)
    found, cosines = nearest(query, gallery, allowed, 3)
    assert found.tolist() == [[2, 1, -1]]
    assert cosines[0, 0] > cosines[0, 1]


@pytest.mark.parametrize(("block_rows", "block_cells"), [(1, 1), (7, 20), (8192, 1 << 23)])
def test_nearest_rows_match_brute_force(block_rows: int, block_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluate.search._BLOCK_ROWS", block_rows)
    monkeypatch.setattr("tasks.evaluate.search._BLOCK_CELLS", block_cells)
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=(30, 5)).astype(np.float32)
    found, cosines = nearest_rows(queries, gallery, 4)
    similarity = normalised(queries) @ normalised(gallery).T
    assert found.tolist() == np.argsort(-similarity, axis=1)[:, :4].tolist()
    assert cosines == pytest.approx(-np.sort(-similarity, axis=1)[:, :4], abs=1e-6)
    assert nearest_rows(queries, gallery[:2], 4)[0].shape == (9, 2), "a smaller gallery"
