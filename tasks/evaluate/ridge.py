"""Ridge regression of class labels: a linear probe whose factorisations serve every class at once.

On VOC and CIFAR-10 (subsets, features of `make learn`'s network and HOG) its accuracy and average precision are those
of logistic regression within half a point, in a fifth of the time and less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from tasks.evaluate.search import Features

# Of the L2 penalty, from weak to strong, in multiples of the number of features: standardised features that are all
# alike share the weight evenly. Half an order of magnitude apart; the best of nearly every layer lay among them.
STRENGTHS = (0.3, 1.0, 3.0)
_BLOCK_ROWS = 4096
_MOST_KERNEL_ROWS = 8192  # a kernel of so many rows is 268 MB

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


def fit_probe(
    features: Features, targets: npt.NDArray[np.float32], halves: npt.NDArray[np.int64], metric: Metric
) -> Probe:
    """The least squares fit of targets (N, C) by standardised features (N, F), with an L2 penalty.

    The strength is that of the highest metric of rows whose half (N,) of 0 and 1 was not fitted, a mean of both. All
    fits share the mean and scale of all rows. Features may be mapped from disk: memory holds matrices of F x F, or of
    N x N and N x F where rows are few.
    """
    mean, scale = _moments(features)
    bias = targets.mean(axis=0)
    num_rows, width = features.shape
    system = _Kernel if num_rows <= min(2 * width, _MOST_KERNEL_ROWS) else _Gram
    fits = system(features, mean, scale, targets - bias, halves)
    reached = np.zeros(len(STRENGTHS))
    for half in (0, 1):
        (others,) = np.nonzero(halves != half)
        reached += [metric(scores + bias, others) for scores in fits.scores_of_others(half)]
    strength = STRENGTHS[int(reached.argmax())]
    return Probe(mean, scale, fits.weights(strength), bias, strength)


class _Kernel:
    """The system of rows: (X X' + penalty) a = Y, and the weights X' a."""

    def __init__(
        self,
        features: Features,
        mean: npt.NDArray[np.float32],
        scale: npt.NDArray[np.float32],
        targets: npt.NDArray[np.float32],
        halves: npt.NDArray[np.int64],
    ) -> None:
        self._rows = np.concatenate([block for _, block in _standardised(features, mean, scale)])
        self._kernel = self._rows @ self._rows.T
        self._targets = targets
        self._halves = [np.flatnonzero(halves == half) for half in (0, 1)]

    def scores_of_others(self, half: int) -> list[Scores]:
        """The scores, but for the bias, that fits of a half give the other one, by strength."""
        mine, others = self._halves[half], self._halves[1 - half]
        kernel, across = self._kernel[np.ix_(mine, mine)], self._kernel[np.ix_(others, mine)]
        return [across @ _solved(kernel, self._targets[mine], self._penalty(each)) for each in STRENGTHS]

    def weights(self, strength: float) -> npt.NDArray[np.float32]:
        """The weights (F, C) of all rows."""
        return np.asarray(self._rows.T @ _solved(self._kernel, self._targets, self._penalty(strength)))

    def _penalty(self, strength: float) -> float:
        return float(strength * self._rows.shape[1])


class _Gram:
    """The system of columns: (X' X + penalty) w = X' Y."""

    def __init__(
        self,
        features: Features,
        mean: npt.NDArray[np.float32],
        scale: npt.NDArray[np.float32],
        targets: npt.NDArray[np.float32],
        halves: npt.NDArray[np.int64],
    ) -> None:
        self._width = features.shape[1]
        self._blocks = partial(_standardised, features, mean, scale)
        self._halves = halves
        self._grams = np.zeros((2, self._width, self._width), np.float32)
        self._sides = np.zeros((2, self._width, targets.shape[1]), np.float32)
        for rows, block in self._blocks():
            for half in (0, 1):
                mine = block[halves[rows] == half]
                self._grams[half] += mine.T @ mine
                self._sides[half] += mine.T @ targets[rows][halves[rows] == half]

    def scores_of_others(self, half: int) -> list[Scores]:
        """As of `_Kernel`."""
        fits = [_solved(self._grams[half], self._sides[half], each * self._width) for each in STRENGTHS]
        together = np.hstack(fits)
        found = [block[self._halves[rows] != half] @ together for rows, block in self._blocks()]
        return np.split(np.concatenate(found), len(STRENGTHS), axis=1)

    def weights(self, strength: float) -> npt.NDArray[np.float32]:
        """As of `_Kernel`."""
        return _solved(self._grams.sum(axis=0), self._sides.sum(axis=0), strength * self._width)


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
        yield rows, (features[rows] - mean) / scale
