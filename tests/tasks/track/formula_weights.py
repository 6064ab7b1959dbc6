"""Weights of RAFT by a formula, the same wherever they are made: no training, and no generator of random numbers."""

from __future__ import annotations

import math

import torch

from tasks.track.raft_layers import RaftSize
from tasks.track.raft_network import Raft


def formula_weights(size: RaftSize) -> dict[str, torch.Tensor]:
    """Numbers for every name of a network, by the name's place in the alphabet."""
    with torch.device("meta"):
        shapes = Raft(size).state_dict()
    return {name: _fill(number, name, shapes[name]) for number, name in enumerate(sorted(shapes))}


def formula_frames(height: int, width: int) -> torch.Tensor:
    """Two frames, (2, 3, height, width) float32, -1 to 1; the second shows the first moved by (3, -2) px."""
    y, x = torch.meshgrid(torch.arange(height + 2.0), torch.arange(width + 3.0), indexing="ij")
    wide = torch.stack([(torch.sin(x / (5 + c)) * torch.cos(y / (4 + c) + x / 11)) for c in range(3)])
    return torch.stack([wide[:, :height, 3:], wide[:, 2:, :width]])


def _fill(number: int, name: str, like: torch.Tensor) -> torch.Tensor:
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    index = torch.arange(like.numel(), dtype=torch.float64)
    wave = torch.sin(0.7 * index + 1.3 * number + index * index % 17)
    if name.endswith("running_var"):
        wave = 1 + 0.5 * wave.abs()
    elif like.dim() == 1:
        wave = 0.1 * wave
    else:
        wave = wave * 0.5 * math.sqrt(2 / (like.numel() // like.shape[0]))
    return wave.view(like.shape).float()
