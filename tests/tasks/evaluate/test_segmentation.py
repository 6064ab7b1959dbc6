"""Region similarity and boundary accuracy, against a slow version written from the definition, and worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from tasks.evaluate.segmentation import TOLERANCE, boundary, boundary_accuracy, region_similarity

MASKS = arrays(np.bool_, (9, 13))


def _slow_boundary(mask: np.ndarray) -> set[tuple[int, int]]:
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            around = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if y == height - 1:
                around = [(y, x + 1)]
            elif x == width - 1:
                around = [(y + 1, x)]
            if any(row < height and column < width and mask[row, column] != mask[y, x] for row, column in around):
                found.add((y, x))
    return found


def _slow_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    reach = math.ceil(TOLERANCE * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    mine, theirs = _slow_boundary(predicted), _slow_boundary(truth)
    if not mine and not theirs:
        return 1.0
    if not mine or not theirs:
        return 0.0

    def share(some: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        return sum(any(math.dist(one, other) <= reach for other in others) for one in some) / len(some)

    precision, recall = share(mine, theirs), share(theirs, mine)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS)
def test_measures_equal_their_definition(predicted: np.ndarray, truth: np.ndarray) -> None:
    assert {(int(y), int(x)) for y, x in np.argwhere(boundary(predicted))} == _slow_boundary(predicted)
    assert boundary_accuracy(predicted, truth) == pytest.approx(_slow_accuracy(predicted, truth))
    both, either = int((predicted & truth).sum()), int((predicted | truth).sum())
    assert region_similarity(predicted, truth) == pytest.approx(both / either if either else 1)
    assert boundary_accuracy(truth, truth) == region_similarity(truth, truth) == 1


def test_a_moved_square_by_hand() -> None:
    truth = np.zeros((480, 854), bool)
    truth[100:200, 300:400] = True
    moved = np.roll(truth, 8, axis=1)
    assert region_similarity(moved, truth) == pytest.approx(92 / 108)
    # The tolerance is 0.008 x 979.6 = 7.8, so 8 px: a square moved as much still fits, moved by 9 its sides do not.
    assert boundary_accuracy(moved, truth) == 1
    assert 0.5 < boundary_accuracy(np.roll(truth, 9, axis=1), truth) < 0.6
    assert boundary_accuracy(np.roll(truth, 200, axis=1), truth) == 0


def test_what_is_empty() -> None:
    empty, full = np.zeros((20, 30), bool), np.ones((20, 30), bool)
    some = empty.copy()
    some[5:9, 5:9] = True
    assert region_similarity(empty, empty) == boundary_accuracy(empty, empty) == 1
    assert region_similarity(some, empty) == boundary_accuracy(some, empty) == boundary_accuracy(empty, some) == 0
    assert boundary_accuracy(full, empty) == 1, "neither has a boundary within the image"
