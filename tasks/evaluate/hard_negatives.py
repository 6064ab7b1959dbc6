"""Linear support vector machines of classes, trained on objects and on the proposals that they take for objects."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.evaluate.overlap import overlaps
from tasks.evaluate.windows import Annotated

_log = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]  # (N, F)

# rcnn_train.m of Girshick et al.'s code.
_NEGATIVE_OVERLAP = 0.3
_STRENGTH = 1e-3  # C
_BIAS = 10.0  # the constant feature that the bias is the weight of
_POSITIVE_WEIGHT = 2.0
_TOLERANCE = 0.1  # liblinear's own for this loss
_MEAN_LENGTH = 20.0  # of the features, to which all are scaled
_HARD = -1.0001  # scores from which on a negative is hard
_EASY = -1.2  # scores below which it is let go
_RETRAIN_NEGATIVES = 2000
_MOST_NEGATIVES = 4000  # of a class; the hardest stay
_MOST_ITERATIONS = 5000
_UNKNOWN = -10.0  # the score of what no example tells: far below that of any negative


@dataclass
class _Machine:
    """One class: its examples (N, F), and a plane through them once there is one."""

    weights: npt.NDArray[np.float64]
    bias: float = _UNKNOWN
    positives: list[Features] = field(default_factory=list)
    negatives: list[Features] = field(default_factory=list)
    fresh: int = 0  # negatives since the last fit
    fitted: bool = False

    def score(self, features: Features) -> npt.NDArray[np.float64]:
        return np.asarray(features @ self.weights + self.bias)


class Machines:
    """One-versus-rest machines of C classes over features of one kind.

    First every image's objects go through `add_objects`, then its proposals once through `add_proposals`, and `finish`
    fits a last time. What is no object of a class and hard stays, as in the authors' code.
    """

    def __init__(self, num_classes: int, seed: int) -> None:
        self._num_classes = num_classes
        self._seed = seed
        self._machines: list[_Machine] = []
        self._lengths: list[npt.NDArray[np.floating]] = []
        self._scale: float | None = None

    def add_objects(self, image: Annotated, features: Features) -> None:
        """The positives: features (G, F) of the image's objects."""
        if not self._machines:
            self._machines = [_Machine(np.zeros(features.shape[1])) for _ in range(self._num_classes)]
        for number, machine in enumerate(self._machines, start=1):
            mine = (image.classes == number) & ~image.difficult
            if mine.any():
                machine.positives.append(features[mine])
        self._lengths.append(np.linalg.norm(features, axis=1))

    def add_proposals(self, image: Annotated, features: Features) -> None:
        """The negatives that are hard by now, of features (P, F) of the image's proposals; fits where enough came."""
        scaled = self._scaled(features)
        shared = overlaps(image.proposals, image.objects)
        for number, machine in enumerate(self._machines, start=1):
            if not machine.positives:
                continue
            apart = (shared[:, image.classes == number] < _NEGATIVE_OVERLAP).all(axis=1)
            hard = apart & (machine.score(scaled) > _HARD) if machine.fitted else apart
            if hard.any():
                machine.negatives.append(scaled[hard])
                machine.fresh += int(hard.sum())
            if machine.fresh >= _RETRAIN_NEGATIVES:
                self._fit(machine)

    def finish(self) -> None:
        """Fit every class a last time, on all that is kept."""
        for machine in self._machines:
            if machine.positives and (machine.fresh or not machine.fitted):
                self._fit(machine)
            machine.positives, machine.negatives = [], []

    def scores(self, features: Features) -> npt.NDArray[np.float32]:
        """(P, F) -> (P, C)."""
        scaled = self._scaled(features)
        return np.stack([machine.score(scaled) for machine in self._machines], axis=1).astype(np.float32)

    def _scaled(self, features: Features) -> Features:
        if self._scale is None:
            self._scale = _MEAN_LENGTH / max(float(np.concatenate(self._lengths).mean()), 1e-12)
        return features * np.float32(self._scale)

    def _fit(self, machine: _Machine) -> None:
        positives = self._scaled(np.concatenate(machine.positives))
        negatives = np.concatenate(machine.negatives) if machine.negatives else positives[:0]
        machine.fresh, machine.fitted = 0, True
        if not len(negatives):  # nothing to tell the class from
            machine.negatives = []
            return
        model = LinearSVC(
            C=_STRENGTH,
            loss="hinge",
            intercept_scaling=_BIAS,
            class_weight={1: _POSITIVE_WEIGHT},
            tol=_TOLERANCE,
            max_iter=_MOST_ITERATIONS,
            random_state=self._seed,
        )
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(np.concatenate([positives, negatives]), np.repeat([1, 0], [len(positives), len(negatives)]))
        if any(issubclass(each.category, ConvergenceWarning) for each in caught):
            _log.info("a machine of %d examples stopped after %d iterations", len(positives), _MOST_ITERATIONS)
        machine.weights, machine.bias = model.coef_[0], float(model.intercept_[0])
        scores = machine.score(negatives)
        order = np.argsort(-scores, kind="stable")[:_MOST_NEGATIVES]
        machine.negatives = [negatives[np.sort(order[scores[order] > _EASY])]]
