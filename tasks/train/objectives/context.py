"""Relative position of patches (Doersch, Gupta and Efros, ICCV 2015): which of 8 places the second patch came from.

Shapes: N images, S their side, P the patch's side, F the features' width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from tasks.networks.network import Network, unit_length
from tasks.train.config import TrainConfig
from tasks.train.distributed import sum_over_ranks
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.objectives.outcome import Outcome, gap_below, mean_cosine_over_ranks
from tasks.train.randomness import CONTEXT, uniforms

# (down, right) from the first patch to the second, in patches.
DIRECTIONS = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])

# Shares of the patch's side, as in the paper: 96 px, gaps of 48 px, each patch moved by up to 7 px.
_GAP, _JITTER = 48 / 96, 7 / 96
_SMALLEST_PX = 40  # CaffeNet needs 39
_HIDDEN = 256
# Green against magenta, along which a lens shifts its colours: the paper's "projection" takes it out.
_ABERRATION = (-1.0, 2.0, -1.0)


@dataclass(frozen=True)
class Layout:
    """Two patches of each image: `labels` (N,) int64 indexes DIRECTIONS; `corners` (2, N, 2) int64 is (top, left)."""

    labels: NDArray[np.int64]
    corners: NDArray[np.int64]
    patch_px: int


class Context(Objective):
    """Tells the second patch's place from the features of both, by two layers of its own."""

    def __init__(self, feature_width: int, advice: str) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(2 * feature_width, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, len(DIRECTIONS))
        )
        self.advice = advice

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        """Mean cross entropy over all images of the global batch, each with one couple of patches a step."""
        own, num_pairs = np.arange(inputs.num_pairs)[inputs.own], inputs.num_pairs
        layout = draw_layout(
            np.concatenate([own, num_pairs + own]), inputs.images.shape[-1], seed=inputs.seed, step=inputs.step
        )
        features = network.backbone(cut_patches(inputs.images, layout))
        logits = self.head(torch.cat(features.chunk(2), dim=1))
        labels = torch.from_numpy(layout.labels).to(logits.device)
        loss = sum_over_ranks(functional.cross_entropy(logits, labels, reduction="sum") / (2 * num_pairs))
        return Outcome(
            loss=loss,
            mean_cosine=mean_cosine_over_ranks(unit_length(features.detach())),
            collapse_gap=gap_below(loss, loss.new_tensor(math.log(len(DIRECTIONS)))),  # the loss of guessing
        )


def build(config: TrainConfig, network: Network, num_classes: int) -> Context:
    advice = f"another train.learning_rate (now {config.learning_rate:g}), or pairs from more videos"
    return Context(network.feature_width, advice)


def draw_layout(images: NDArray[np.int64], side_px: int, *, seed: int, step: int) -> Layout:
    """Where the patches of images lie, as a pure function of (seed, step, number of the image in the global batch).

    Both patches together lie anywhere in the image; jitter keeps their distance from giving the place away.
    """
    draws = uniforms(CONTEXT, seed, step, images[:, None], np.arange(7)[None])
    patch = int(side_px / (2 + _GAP + 2 * _JITTER))
    gap, jitter = int(patch * _GAP), int(patch * _JITTER)
    labels = (draws[:, 0] * len(DIRECTIONS)).astype(np.int64)
    directions = DIRECTIONS[labels]
    extents = patch + np.abs(directions) * (patch + gap)
    origins = jitter + (draws[:, 1:3] * (side_px - extents - 2 * jitter + 1)).astype(np.int64)
    first = origins + (directions < 0) * (patch + gap)
    jitters = (draws[:, 3:] * (2 * jitter + 1)).astype(np.int64) - jitter
    corners = np.stack([first, first + directions * (patch + gap)]) + jitters.reshape(-1, 2, 2).swapaxes(0, 1)
    return Layout(labels, corners, patch)


def cut_patches(images: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(N, 3, S, S) -> (2N, 3, P, P), all first patches and then all second ones, without the axis of aberration.

    Patches below what networks take are enlarged to it.
    """
    corners = torch.from_numpy(layout.corners.reshape(-1, 2)).to(images.device)
    inside = torch.arange(layout.patch_px, device=images.device)
    rows, columns = corners[:, :1] + inside, corners[:, 1:] + inside
    numbers = torch.arange(len(images), device=images.device).repeat(2)
    patches = images[numbers[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    axis = functional.normalize(patches.new_tensor(_ABERRATION), dim=0).view(3, 1, 1)
    patches = patches - (patches * axis).sum(dim=1, keepdim=True) * axis
    if layout.patch_px < _SMALLEST_PX:
        patches = functional.interpolate(patches, size=_SMALLEST_PX, mode="bilinear", align_corners=False)
    return patches.contiguous(memory_format=torch.channels_last)
