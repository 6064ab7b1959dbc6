"""TensorBoard: numbers and pictures of a training while it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.networks.images import to_pixels
from tasks.networks.network import Network, unit_length
from tasks.train.config import TrainConfig
from tasks.train.objectives.objective import Inputs
from tasks.train.objectives.outcome import Outcome

_SHEETS = 20  # in a run
_SHEET_PAIRS = 8
_FLUSH_SECONDS = 10
_NO_SCALARS = {"step", "epoch"}


class Board:
    """The log of one unit, in a folder of its own (the key's first 16 digits) below `train.tensorboard`.

    A run that goes on after `step` steps hides what an attempt before it told of later ones. Needs the extra
    `tensorboard`.
    """

    def __init__(self, config: TrainConfig, key: str, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(config.tensorboard).expanduser() / key[:16]
        self._writer = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=_FLUSH_SECONDS)
        self._sheet_every = max(1, config.steps // _SHEETS)
        self._told, self._clock = step, time.monotonic()

    def tell(self, row: Mapping[str, float], batch_images: int) -> None:
        """The scalars of a row by their names in METRIC_SCHEMA, and images/s since the row before."""
        step, now = int(row["step"]), time.monotonic()
        speed = batch_images * (step - self._told) / (now - self._clock)
        self._told, self._clock = step, now
        for name, value in {**row, "images_per_second": speed}.items():
            if name not in _NO_SCALARS and not math.isnan(value):
                self._writer.add_scalar(name, value, step)

    def wants_sheet(self, step: int) -> bool:
        """Whether a picture of this step (counted from 1) is due: twenty a run."""
        return step % self._sheet_every == 0

    def show(self, step: int, sheet: NDArray[np.uint8]) -> None:
        """A `contact_sheet`."""
        self._writer.add_image("anchor, positive, hardest negative", sheet, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


def contact_sheet(network: Network, inputs: Inputs, outcome: Outcome) -> NDArray[np.uint8]:
    """The first 8 samples of this rank, a row each: anchor, positive and the nearest image that may be its negative.

    (rows S, 3 S, 3) uint8 RGB, as the network sees them; 2 S wide where a sample is one image. Nearest by the
    embedding where the objective is one of pairs, else by the features, among this rank's images; black where none may
    be. Draws no random number.
    """
    network.eval()
    with torch.no_grad():
        of_pairs = outcome.positive_cosine is not None
        vectors = network(inputs.images) if of_pairs else unit_length(network.backbone(inputs.images))
    network.train()
    own = torch.arange(inputs.num_pairs, device=vectors.device)[inputs.own]
    views = len(inputs.images) // len(own)
    allowed = inputs.allowed[own][:, torch.cat([own + view * inputs.num_pairs for view in range(views)])]
    rows = min(_SHEET_PAIRS, len(own))
    nearest = (vectors[:rows] @ vectors.T).masked_fill(~allowed[:rows], -torch.inf).argmax(dim=1)
    pixels = to_pixels(inputs.images)
    negatives = pixels[nearest.cpu().numpy()] * allowed[:rows].any(dim=1).cpu().numpy()[:, None, None, None]
    columns = [*(pixels[view * len(own) :][:rows] for view in range(views)), negatives]
    sheet: NDArray[np.uint8] = np.concatenate([np.concatenate(column) for column in columns], axis=1)
    return sheet
