"""The best weights of a run so far, and what "best" means without labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from tasks.networks.network import Network
from tasks.train.config import TrainConfig


@dataclass
class Best:
    """The weights at the end of the window of steps whose mean training loss was the lowest.

    Training has no labels and holds no pairs back, so the loss of its own batches is all there is: each batch is
    judged before it is learned from, and the mean of a window evens batches out. It says how well the objective is
    met, not how good the features are for another task; the benchmarks say that. Windows end at the multiples of
    `train.best_every_steps`, whenever the run was killed or saved. Where negatives of the ranking hinge turn hard, the
    loss turns into another one: what was lowest before gives way to the first window after.

    `step`: where `network` was taken (0: nowhere yet); `loss`: its window's mean; `window_loss` and `window_steps`:
    sum and number of the losses since the last window's end.
    """

    step: int = 0
    loss: float = math.inf
    window_loss: float = 0.0
    window_steps: int = 0
    network: dict[str, torch.Tensor] = field(default_factory=dict)

    def see(self, config: TrainConfig, step: int, loss: float | None, network: Network) -> None:
        """Look at one step (counted from 1), in order; `loss` is None for a step that was skipped."""
        if config.best_every_steps == 0:
            return
        hardens = config.hard_after_step if config.objective == "ranking" else 0  # steps before negatives are hard
        if step == hardens + 1:
            self.window_loss, self.window_steps = 0.0, 0
        if loss is not None:
            self.window_loss, self.window_steps = self.window_loss + loss, self.window_steps + 1
        if step % config.best_every_steps == 0 and self.window_steps:
            mean = self.window_loss / self.window_steps
            self.window_loss, self.window_steps = 0.0, 0
            if mean < self.loss or self.step <= hardens < step:
                self.step, self.loss = step, mean
                self.network = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
