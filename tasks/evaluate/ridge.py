"""Ridge regression of class labels: a linear probe whose factorisations serve every class at once.

On VOC and CIFAR-10 (subsets, features of `make learn`'s network and HOG) its accuracy and average precision are those
of logistic regression within half a point, in a fifth of the time and less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from tasks.evaluate.search import Features

# Of the L2 penalty, from weak to strong, in multiples of the number of features: standardised features that are all
# alike share the weight evenly. Half an order of magnitude apart; the best of nearly every layer lay among them.
STRENGTHS = (0.3, 1.0, 3.0)
_BLOCK_ROWS = 4096
MOST_CHOOSING = 2048  # rows that choose the strength: the penalty that serves them serves more of them too

Scores = npt.NDArray[np.float32]  # (N, C)
Metric = Callable[[Scores, npt.NDArray[np.int64]], float]
"""How good scores (n, C) of those training rows (n,) are."""


@dataclass(frozen=True)
class Probe:
    """A plane for each of C classes: features (N, F) are standardised by `mean` and `scale` (F,), then
    `weights` (F, C) and `bias` (C,) give scores (N, C). `strength` is the one that was chosen of `STRENGTHS`."""

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float

    def scores(self, features: Features) -> Scores:
        blocks = [block @ self.weights + self.bias for _, block in _standardised(features, self.mean, self.scale)]
        return np.concatenate(blocks)


def draw_halves(num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """(N,): two halves of the rows, 0 and 1, that the seed draws; beyond `MOST_CHOOSING` a row is in neither, -1."""
    order = np.random.default_rng(seed).permutation(num_rows)
    return np.where(order < MOST_CHOOSING, order % 2, -1)


def fit_probe(
    features: Features, targets: npt.NDArray[np.float32], halves: npt.NDArray[np.int64], metric: Metric
) -> Probe:
    """The least squares fit of targets (N, C) by standardised features (N, F), with an L2 penalty.

    The strength is that of the highest metric of rows whose half (N,) was not fitted, a mean of both; see
    `draw_halves`. All fits share the mean and scale of all rows. Features may be mapped from disk: memory holds a
    block of rows and a few matrices of F x F.
    """
    mean, scale = _moments(features)
    bias = targets.mean(axis=0)
    width = features.shape[1]
    (chosen,) = np.nonzero(halves >= 0)
    few = _standard(features[chosen], mean, scale)
    strength = _best_strength(few, chosen, targets - bias, bias, halves, metric)
    if len(features) <= width:
        rows = _standard(features, mean, scale)
        weights = rows.T @ _solved(rows @ rows.T, targets - bias, strength * width)
    else:
        gram, side = np.zeros((width, width), np.float32), np.zeros((width, targets.shape[1]), np.float32)
        for each, block in _standardised(features, mean, scale):
            gram += block.T @ block
            side += block.T @ (targets[each] - bias)
        weights = _solved(gram, side, strength * width)
    return Probe(mean, scale, np.asarray(weights, np.float32), bias, strength)


def _best_strength(
    features: Features,
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    halves: npt.NDArray[np.int64],
    metric: Metric,
) -> float:
    """Of the fits of one half of features (n, F), which are those of some rows (n,), judged by the other half."""
    kernel = features @ features.T  # the fit of few rows: (X X' + penalty) a = Y, and the weights X' a
    reached = np.zeros(len(STRENGTHS))
    for half in (0, 1):
        mine, others = np.flatnonzero(halves[rows] == half), np.flatnonzero(halves[rows] == 1 - half)
        inside, across = kernel[np.ix_(mine, mine)], kernel[np.ix_(others, mine)]
        for place, strength in enumerate(STRENGTHS):
            found = across @ _solved(inside, targets[rows[mine]], strength * features.shape[1])
            reached[place] += metric(np.asarray(found + bias, np.float32), rows[others])
    return STRENGTHS[int(reached.argmax())]


def _solved(matrix: npt.NDArray[np.float32], side: npt.NDArray[np.float32], penalty: float) -> npt.NDArray[np.float32]:
    """The x of (matrix + penalty) x = side, of a symmetric matrix without negative eigenvalues."""
    matrix = matrix.copy()
    matrix.flat[:: len(matrix) + 1] += np.float32(penalty)
    # LAPACK's order of a symmetric matrix is its transpose: the copy is factored in its place.
    factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, side, check_finite=False), np.float32)


def _moments(features: Features) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation (F,) of each feature; 1 instead where it never changes."""
    blocks = [features[first : first + _BLOCK_ROWS] for first in range(0, len(features), _BLOCK_ROWS)]
    mean = np.sum([block.sum(axis=0, dtype=np.float64) for block in blocks], axis=0) / len(features)
    centre = mean.astype(np.float32)
    spread = np.sum([np.square(block - centre).sum(axis=0, dtype=np.float64) for block in blocks], axis=0)
    scale = np.sqrt(spread / len(features))
    return centre, np.where(scale > 1e-6 * np.maximum(1, np.abs(mean)), scale, 1).astype(np.float32)


def _standardised(
    features: Features, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> Iterator[tuple[slice, Features]]:
    """Rows (n, F) of standardised features, a block at a time."""
    for first in range(0, len(features), _BLOCK_ROWS):
        rows = slice(first, min(first + _BLOCK_ROWS, len(features)))
        yield rows, _standard(features[rows], mean, scale)


def _standard(features: Features, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> Features:
    return np.asarray((features - mean) / scale, np.float32)
