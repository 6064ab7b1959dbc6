"""The linear probe: how much of the classes a plane through frozen features can tell."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.evaluate.search import Features

_log = logging.getLogger(__name__)

# Inverse strengths of the L2 penalty, from strong to weak; the middle one serves where no choice can be made.
STRENGTHS = (0.001, 0.01, 0.1)
_FOLDS = 3
_MOST_ITERATIONS = 1000

Classes = npt.NDArray[np.int64]  # (N,)


def fit_probe(features: Features, classes: Classes, groups: Classes) -> tuple[Pipeline, float]:
    """Standardise and fit multinomial logistic regression; returns the model and the strength it was given.

    The strength is chosen by cross-validation over whole groups of the given (training) items alone, the same
    way for every kind of features; with fewer than three groups it is fixed. features: (N, F).
    """
    num_groups = len(np.unique(groups))
    strength = STRENGTHS[1]
    if num_groups >= _FOLDS:
        strength = max(STRENGTHS, key=lambda each: _validated(features, classes, groups, each))
    return _fit(features, classes, strength), strength


def _validated(features: Features, classes: Classes, groups: Classes, strength: float) -> float:
    """The share of items that are named rightly by a model fitted without their fold."""
    right = 0
    for train, test in GroupKFold(_FOLDS).split(features, classes, groups):
        if len(np.unique(classes[train])) < 2:
            continue
        right += int((_fit(features[train], classes[train], strength).predict(features[test]) == classes[test]).sum())
    return right / len(classes)


def _fit(features: Features, classes: Classes, strength: float) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS, tol=1e-3))
    # The products are small: threads cost more than they give, most of all beside other processes.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, classes)
    if any(issubclass(each.category, ConvergenceWarning) for each in caught):
        _log.warning("the linear probe stopped after %d iterations, not converged", _MOST_ITERATIONS)
    return model
