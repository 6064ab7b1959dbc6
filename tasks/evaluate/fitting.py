"""Fine-tuning of a network's convolutions for surface normals, as classes of a coarse grid."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tasks.evaluate.codewords import CODEWORDS, GRID, UNKNOWN
from tasks.networks.images import to_tensor
from tasks.networks.network import Network

_HALF = 0.5  # of the images are mirrored


@dataclass(frozen=True)
class Samples:
    """Training images (N, side, side, 3) uint8 RGB, which may lie in a file, and the classes of their cells and of
    their mirrored cells (N, 2, GRID, GRID), `UNKNOWN` where there is none."""

    images: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]


class Grid(nn.Module):
    """A network's convolutions, a hidden layer over their last map, and `CODEWORDS` classes for every cell."""

    def __init__(self, network: Network, side_px: int, hidden: int) -> None:
        super().__init__()
        self.network = network
        with torch.inference_mode():
            width = self._last(torch.zeros(1, 3, side_px, side_px)).shape[1]
        self.head = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, CODEWORDS * GRID * GRID)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side) -> (B, CODEWORDS, GRID, GRID)."""
        scores: torch.Tensor = self.head(self._last(images))
        return scores.view(-1, CODEWORDS, GRID, GRID)

    def _last(self, images: torch.Tensor) -> torch.Tensor:
        return [found for found in self.network.maps(images).values() if found.ndim == 4][-1].flatten(1)


def fit(
    network: Network,
    samples: Samples,
    *,
    hidden: int,
    steps: int,
    batch_images: int,
    learning_rate: float,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Grid:
    """A copy of the network, trained on the samples. Raises ValueError, in one line, where its loss is no number.

    Every network meets the same images in the same order, and a head that begins from the same draws. AdamW, where the
    paper has SGD, since one rate then serves every network, whatever the scale of its activations.
    """
    side_px = samples.images.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Grid(copy.deepcopy(network), side_px, hidden).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = batches(samples, batch_images, seed)
    for step in range(steps):
        images, classes = next(drawn)
        scores = model(to_tensor(images).to(device))
        loss = functional.cross_entropy(scores, torch.from_numpy(classes).to(device), ignore_index=UNKNOWN)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            if not torch.isfinite(loss):
                raise ValueError(
                    f"evaluate.normals_learning_rate: {learning_rate:g} is too high, the loss of step {step} is no "
                    "number; set a lower one"
                )
            progress(step + 1, steps)
    return model.eval()


def batches(samples: Samples, size: int, seed: int) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Endless batches, every image once in each turn, half of them mirrored."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(len(samples.images)).tolist()
        chosen, waiting = np.array(waiting[:size]), waiting[size:]
        mirrored = rng.random(size) < _HALF
        images = samples.images[chosen]
        images[mirrored] = images[mirrored, :, ::-1]
        yield images, samples.classes[chosen, mirrored.astype(np.int64)]
