"""Guards of a training run: numbers that are none, and embeddings that all became one."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.records import Dropped
from tasks.train.config import TrainConfig
from tasks.train.objectives.outcome import Outcome

_COLLAPSED_COSINE = 0.99
_COLLAPSED_GAP = 0.05
_FEWEST_STEPS = 200
_BUDGETS_IN_ALL = 10


@dataclass
class Monitor:
    """Watches each step; raises Dropped where going on is a waste.

    Collapse: all images have nearly one embedding (mean cosine above 0.99) and the loss is that of one embedding for
    all: the margin, the logarithm of the number of candidates, 0 for slowness, the variance of what is drawn.
    Fresh networks with positive biases start there, so only a quarter of the run (200 steps at least) in
    that state, without a break, stops it.

    Skipped: a step whose loss or gradients are no finite numbers leaves weights and momentum as they were. More than
    `train.skip_budget` of them in a row, ten times as many in all, or nothing but them, is a run that diverged.
    """

    config: TrainConfig
    advice: str  # the objective's
    collapsed_steps: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0

    @property
    def patience_steps(self) -> int:
        return max(_FEWEST_STEPS, self.config.steps // 4)

    def check(self, step: int, outcome: Outcome) -> None:
        """Look at one step (counted from 1) that was taken."""
        self.skipped_in_a_row = 0
        loss, mean_cosine = float(outcome.loss.detach()), float(outcome.mean_cosine)
        collapsed = mean_cosine > _COLLAPSED_COSINE and float(outcome.collapse_gap) < _COLLAPSED_GAP
        self.collapsed_steps = self.collapsed_steps + 1 if collapsed else 0
        if self.collapsed_steps >= self.patience_steps:
            raise Dropped(
                "permanent",
                "collapsed",
                f"for {self.collapsed_steps} steps up to step {step} all embeddings were alike (mean cosine "
                f"{mean_cosine:.4f}) and the loss, {loss:.4f}, that of one embedding for all; try {self.advice}",
            )

    def skip(self, step: int) -> None:
        """Count one step (counted from 1) that was not taken."""
        self.skipped_steps += 1
        self.skipped_in_a_row += 1
        budget = self.config.skip_budget
        if self.skipped_in_a_row > min(budget, self.config.steps - 1) or self.skipped_steps > _BUDGETS_IN_ALL * budget:
            raise Dropped(
                "permanent",
                "diverged",
                f"at step {step} loss or gradients are no finite numbers, for {self.skipped_in_a_row} steps in a row "
                f"and {self.skipped_steps} in all; lower train.learning_rate (now {self.config.learning_rate:g}), or "
                f"raise train.skip_budget (now {budget})",
            )
