"""Evidence: what was seen of a track while it was followed, and how sure it makes us that the track is right."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tasks.track.appearance import correlation
from tasks.track.boxes import Box
from tasks.track.follow import BoxStep

_KEPT_EVERY = 5  # frames between patches that are kept for comparison
_LAG = 10  # frames between patches that are compared: a solid that turns looks another way after more
_MIN_JOLT = 1e-3  # of the box's size; less is measured as this

# Logistic regression of "right after 30 frames" on 1,037 boxes of the generated world with occluders, cuts and changes
# of light and size, and on 105 of real sequences, which weigh five times as much each: objects there bend and speed up,
# and jolt more. `python -m tests.bench.track --fit` prints them anew.
_COEFFICIENTS = (-4.72, -0.86, 1.81, 3.61, 2.62)  # constant, ln(jolt), step_ncc, lag_ncc, least agreement


@dataclass
class Evidence:
    """Per step, in frames from the start on: `errors_px`, `agreement` and `jolts_px` as in `BoxStep`.

    `step_ncc` is the least correlation of the box's picture with that of the frame before, `lag_ncc` the least one
    with that of ten frames before. `size_px` is the square root of the box's first area.
    """

    size_px: float
    first: np.ndarray  # the patch at the start, (576,) float32
    errors_px: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    jolts_px: list[float] = field(default_factory=list)
    step_ncc: float = 1.0
    lag_ncc: float = 1.0
    _newest: np.ndarray = field(init=False)
    _kept: list[np.ndarray] = field(init=False)  # those of the last ten frames, one in five, the oldest first

    def __post_init__(self) -> None:
        self._newest, self._kept = self.first, [self.first]

    def add(self, step: BoxStep, patch: np.ndarray) -> None:
        """Take in a step and the box's picture after it."""
        self.errors_px.append(step.error_px)
        self.agreement.append(step.agreement)
        self.jolts_px.append(step.jolt_px)
        self.step_ncc = min(self.step_ncc, correlation(self._newest, patch))
        self._newest = patch
        if len(self.errors_px) % _KEPT_EVERY == 0:
            self._kept = [*self._kept[-(_LAG // _KEPT_EVERY) :], patch]
            if len(self.errors_px) >= _LAG:
                self.lag_ncc = min(self.lag_ncc, correlation(self._kept[0], patch))

    @property
    def error_px(self) -> float:
        """The worst frame's forward-backward error."""
        return max(self.errors_px, default=0.0)

    @property
    def ncc(self) -> float:
        """Correlation of the first and the newest picture."""
        return correlation(self.first, self._newest) if self.errors_px else 1.0

    @property
    def confidence(self) -> float:
        """The estimated probability that the box still holds what it was put on, 0 to 1; NaN where not measured."""
        constant, *weights = _COEFFICIENTS
        logit = constant + sum(weight * value for weight, value in zip(weights, self.features, strict=True))
        return 1 / (1 + math.exp(-logit))

    @property
    def features(self) -> tuple[float, float, float, float]:
        """For the confidence: ln of the largest jolt in sizes of the box, `step_ncc`, `lag_ncc`, least agreement."""
        jolt = max(self.jolts_px, default=0.0) / self.size_px
        return math.log(max(jolt, _MIN_JOLT)), self.step_ncc, self.lag_ncc, min(self.agreement, default=1.0)


def begin_evidence(box: Box, patch: np.ndarray) -> Evidence:
    """For a track that starts with this box and its picture."""
    return Evidence(math.sqrt(box.width * box.height), patch)
