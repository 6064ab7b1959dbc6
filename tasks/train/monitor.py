"""Guards of a training run: numbers that are none, and embeddings that all became one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.records import Dropped
from tasks.train.config import TrainConfig

_COLLAPSED_COSINE = 0.99
_LOSS_NEAR_MARGIN = 0.05  # as a share of the margin
_FEWEST_STEPS = 200


@dataclass
class Monitor:
    """Watches each step; raises Dropped where going on is a waste.

    Collapse: all images have nearly one embedding (mean cosine above 0.99) and the loss stays at the margin.
    Fresh networks with positive biases start there, so only a quarter of the run (200 steps at least) in
    that state, without a break, stops it.
    """

    config: TrainConfig
    collapsed_steps: int = 0

    @property
    def patience_steps(self) -> int:
        return max(_FEWEST_STEPS, self.config.steps // 4)

    def check(self, step: int, loss: float, mean_cosine: float) -> None:
        """Look at one step (counted from 1)."""
        if not math.isfinite(loss):
            raise Dropped(
                "permanent",
                "diverged",
                f"the loss of step {step} is {loss}; lower train.learning_rate (now {self.config.learning_rate:g})",
            )
        margin = self.config.margin
        at_margin = abs(loss - margin) < _LOSS_NEAR_MARGIN * margin
        self.collapsed_steps = self.collapsed_steps + 1 if mean_cosine > _COLLAPSED_COSINE and at_margin else 0
        if self.collapsed_steps >= self.patience_steps:
            raise Dropped(
                "permanent",
                "collapsed",
                f"for {self.collapsed_steps} steps up to step {step} all embeddings were alike (mean cosine "
                f"{mean_cosine:.4f}, loss {loss:.4f} at margin {margin:g}); try another train.learning_rate (now "
                f"{self.config.learning_rate:g}), a later train.hard_after_step (now {self.config.hard_after_step}), "
                "or pairs from more videos",
            )
