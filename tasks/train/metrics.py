"""The loss curve: rows that survive a resume, progress on the way, and one table at the end."""

from __future__ import annotations

import math
import time

import torch

from storage.tables import table_bytes
from tasks.records import METRIC_SCHEMA
from tasks.train.config import TrainConfig
from tasks.train.job import tell
from tasks.train.objectives.outcome import Outcome

_MOST_ROWS = 4000
_FINAL_ROWS = 50
_TELL_EVERY_SECONDS = 0.5


class Metrics:
    """Rows in the order of METRIC_SCHEMA, every step of a short run and 4000 at most of a long one."""

    def __init__(self, config: TrainConfig, rows: torch.Tensor) -> None:
        self._steps = config.steps
        self._every = max(1, config.steps // _MOST_ROWS)
        self._rows: list[list[float]] = rows.tolist()
        self._told = 0.0

    def add(self, step: int, epoch: float, outcome: Outcome, rate: float) -> dict[str, float]:
        """Keep one step (counted from 1); returns its row by name, empty for a step that no row is kept of."""
        if step % self._every and step != self._steps:
            return {}
        scalars = [
            outcome.loss,
            outcome.active_share,
            outcome.positive_cosine,
            outcome.negative_cosine,
            outcome.mean_cosine,
        ]
        values = [math.nan if scalar is None else float(scalar.detach()) for scalar in scalars]
        self._rows.append([step, epoch, *values, rate])
        return dict(zip(METRIC_SCHEMA.names, self._rows[-1], strict=True))

    def tell_progress(self, step: int, epoch: float, loss: float) -> None:
        """Tell the parent, twice a second at most."""
        now = time.monotonic()
        if now - self._told > _TELL_EVERY_SECONDS or step == self._steps:
            self._told = now
            tell("progress", step=step, steps=self._steps, epoch=round(epoch, 3), loss=round(loss, 6))

    def tensor(self) -> torch.Tensor:
        """(rows, 8) float64; NaN is a scalar that the objective does not have."""
        return torch.tensor(self._rows, dtype=torch.float64).view(-1, len(METRIC_SCHEMA))

    def table(self) -> bytes:
        """The rows as Parquet; what the objective does not have is null."""
        names = METRIC_SCHEMA.names
        kept = [[int(row[0]), *(None if math.isnan(value) else value for value in row[1:])] for row in self._rows]
        rows = [dict(zip(names, values, strict=True)) for values in kept]
        return table_bytes(rows, METRIC_SCHEMA)

    def final_loss(self) -> float:
        """The mean loss of the last 50 rows."""
        losses = [row[2] for row in self._rows[-_FINAL_ROWS:]]
        return sum(losses) / len(losses)
