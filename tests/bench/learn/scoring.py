"""Linear classification of frozen features, and paired intervals over the test images.

The strength of the penalty is chosen between the halves of the training images; a test image is asked once.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tasks.bootstrap import CONFIDENCE
from tests.bench.learn.images import Labelled

STRENGTHS = (0.001, 0.003, 0.01, 0.03)  # inverse, of the L2 penalty
SAMPLES = 1000

Features = NDArray[np.float32]  # (N, F)


@dataclass(frozen=True)
class Task:
    """One classification: `metric` of the scores (N, C) of some test images, by their numbers (n,)."""

    name: str
    train: Labelled
    test: Labelled
    halves: NDArray[np.int64]  # (N,) 0 or 1, of the training images
    one_class_an_image: bool

    def metric(self, scores: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
        """Accuracy where an image has one class, else the mean over classes of the (area) average precision."""
        if self.one_class_an_image:
            return float(self.test.labels[chosen, scores[chosen].argmax(axis=1)].mean())
        return float(np.mean(self.per_class(scores, chosen)))

    def per_class(self, scores: NDArray[np.float64], chosen: NDArray[np.int64] | slice = slice(None)) -> list[float]:
        """The average precision of each class, over the images that count for it."""
        labels, counted = self.test.labels[chosen], self.test.counted[chosen]
        columns = zip(labels.T, scores[chosen].T, counted.T, strict=True)
        return [float(average_precision_score(label[kept], score[kept])) for label, score, kept in columns]


def classify(task: Task, train: Features, test: Features) -> NDArray[np.float64]:
    """(N, C) scores of the test images by a linear classifier on standardised features; one a class where an image
    may have several."""
    labels, counted = task.train.labels, task.train.counted
    if task.one_class_an_image:
        return _fit(train, labels.argmax(axis=1), task.halves, "accuracy").decision_function(test)
    columns = []
    for column in range(labels.shape[1]):
        kept = counted[:, column]
        model = _fit(train[kept], labels[kept, column], task.halves[kept], "average_precision")
        columns.append(model.decision_function(test))
    return np.stack(columns, axis=1)


def paired_interval(
    task: Task, some: list[NDArray[np.float64]], others: list[NDArray[np.float64]], seed: int = 0
) -> tuple[float, float, float]:
    """The metric's difference, a mean over runs (lists of scores (N, C)), and its percentile interval over images.

    Both sides are asked about the same drawn images, so that what makes an image hard drops out.
    """
    everything = np.arange(len(task.test))
    rng = np.random.default_rng(seed)

    def difference(chosen: NDArray[np.int64]) -> float:
        first, second = (np.mean([task.metric(scores, chosen) for scores in runs]) for runs in (some, others))
        return float(first - second)

    drawn = [difference(rng.choice(everything, len(everything))) for _ in range(SAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return difference(everything), float(low), float(high)


def summary(task: Task, runs: Mapping[str, list[NDArray[np.float64]]], name: str) -> str:
    """Mean and, in brackets, the value of each seed."""
    values = [100 * task.metric(scores, np.arange(len(task.test))) for scores in runs[name]]
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{each}"


def _fit(features: Features, labels: NDArray[np.generic], halves: NDArray[np.int64], scoring: str) -> GridSearchCV:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))
    grid = {"logisticregression__C": STRENGTHS}
    search = GridSearchCV(model, grid, scoring=scoring, cv=PredefinedSplit(halves))
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps of weak penalties, which are not chosen
        return search.fit(features, labels)
