"""The parts of RAFT (Teed and Deng, ECCV 2020), by torchvision's names and widths (0.29: `raft_small`, `raft_large`).

Shapes: B pairs of frames, (H, W) their size in px, (h, w) = (H / 8, W / 8), C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

STRIDE = 8  # px of a frame a place of its features
LEVELS = 4  # of the correlations


@dataclass(frozen=True)
class RaftSize:
    """The widths of a network, in channels; `radius` in places of a level of the correlations."""

    bottleneck: bool
    features: tuple[int, int, int, int, int]
    context: tuple[int, int, int, int, int]
    context_norm: bool
    radius: int
    correlation: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    hidden: int
    kernels: tuple[tuple[int, int], ...]
    head: int
    mask: bool


SMALL = RaftSize(
    bottleneck=True,
    features=(32, 32, 64, 96, 128),
    context=(32, 32, 64, 96, 160),
    context_norm=False,
    radius=3,
    correlation=(96,),
    flow=(64, 32),
    motion=82,
    hidden=96,
    kernels=((3, 3),),
    head=128,
    mask=False,
)
LARGE = RaftSize(
    bottleneck=False,
    features=(64, 64, 96, 128, 256),
    context=(64, 64, 96, 128, 256),
    context_norm=True,
    radius=4,
    correlation=(256, 192),
    flow=(128, 64),
    motion=128,
    hidden=128,
    kernels=((1, 5), (5, 1)),
    head=256,
    mask=True,
)


class Encoder(nn.Module):
    """Frames (B, 3, H, W) to what describes them, (B, C, h, w)."""

    def __init__(self, widths: tuple[int, int, int, int, int], bottleneck: bool, norm: type[nn.Module] | None) -> None:
        super().__init__()
        block = _BottleneckBlock if bottleneck else _ResidualBlock

        def two_blocks(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(block(inputs, outputs, stride, norm), block(outputs, outputs, 1, norm))

        first, second, third, fourth, last = widths
        self.convnormrelu = _convolution(3, first, 7, 2, norm)
        self.layer1 = two_blocks(first, second, 1)
        self.layer2 = two_blocks(second, third, 2)
        self.layer3 = two_blocks(third, fourth, 2)
        self.conv = nn.Conv2d(fourth, last, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = self.conv(self.layer3(self.layer2(self.layer1(self.convnormrelu(frames)))))
        return encoded


class UpdateBlock(nn.Module):
    """One step: what was seen around the places, and the flow so far, to a new hidden state and a step of the flow."""

    def __init__(self, size: RaftSize) -> None:
        super().__init__()
        inputs = size.context[-1] - size.hidden + size.motion
        self.motion_encoder = _MotionEncoder(size)
        self.recurrent_block = _RecurrentBlock(inputs, size.hidden, size.kernels)
        self.flow_head = _FlowHead(size.hidden, size.head)

    def forward(
        self, hidden: torch.Tensor, context: torch.Tensor, looked_up: torch.Tensor, flow: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next hidden state and the step of the flow; all (N, channels, H / 8, W / 8)."""
        motion = self.motion_encoder(flow, looked_up)
        hidden = self.recurrent_block(hidden, torch.cat([context, motion], dim=1))
        return hidden, self.flow_head(hidden)


class MaskPredictor(nn.Module):
    """How each px of the flow is mixed from the 9 nearest places, (B, 8 * 8 * 9, h, w) before the softmax."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.convrelu = _convolution(hidden, 256, 3)
        self.conv = nn.Conv2d(256, STRIDE * STRIDE * 9, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # The paper's code damps the gradients of this branch by the factor, and the weights count on it.
        mask: torch.Tensor = 0.25 * self.conv(self.convrelu(hidden))
        return mask


class _MotionEncoder(nn.Module):
    def __init__(self, size: RaftSize) -> None:
        super().__init__()
        looked_up = LEVELS * (2 * size.radius + 1) ** 2
        self.convcorr1 = _convolution(looked_up, size.correlation[0], 1)
        self.convcorr2 = _convolution(*size.correlation, 3) if len(size.correlation) == 2 else nn.Identity()
        self.convflow1 = _convolution(2, size.flow[0], 7)
        self.convflow2 = _convolution(size.flow[0], size.flow[1], 3)
        self.conv = _convolution(size.correlation[-1] + size.flow[1], size.motion - 2, 3)  # the flow joins as 2 more

    def forward(self, flow: torch.Tensor, looked_up: torch.Tensor) -> torch.Tensor:
        correlation = self.convcorr2(self.convcorr1(looked_up))
        joined = torch.cat([correlation, self.convflow2(self.convflow1(flow))], dim=1)
        return torch.cat([self.conv(joined), flow], dim=1)


class _RecurrentBlock(nn.Module):
    def __init__(self, inputs: int, hidden: int, kernels: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.convgru1 = _ConvGRU(inputs, hidden, kernels[0])
        self.convgru2 = _ConvGRU(inputs, hidden, kernels[1]) if len(kernels) == 2 else None

    def forward(self, hidden: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.convgru1(hidden, inputs)
        if self.convgru2 is not None:
            hidden = self.convgru2(hidden, inputs)
        return hidden


class _ConvGRU(nn.Module):
    def __init__(self, inputs: int, hidden: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.convz = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
        self.convr = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
        self.convq = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)

    def forward(self, hidden: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """The next hidden state, (N, hidden, H / 8, W / 8)."""
        both = torch.cat([hidden, inputs], dim=1)
        update, reset = self.convz(both).sigmoid(), self.convr(both).sigmoid()
        fresh = self.convq(torch.cat([reset * hidden, inputs], dim=1)).tanh()
        mixed: torch.Tensor = (1 - update) * hidden + update * fresh
        return mixed


class _FlowHead(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, 2, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        step: torch.Tensor = self.conv2(F.relu(self.conv1(hidden)))
        return step


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.convnormrelu1 = _convolution(inputs, outputs, 3, stride, norm)
        self.convnormrelu2 = _convolution(outputs, outputs, 3, 1, norm)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        inner = self.convnormrelu2(self.convnormrelu1(frames))
        return F.relu(self.downsample(frames) + inner)


class _BottleneckBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.convnormrelu1 = _convolution(inputs, outputs // 4, 1, 1, norm)
        self.convnormrelu2 = _convolution(outputs // 4, outputs // 4, 3, stride, norm)
        self.convnormrelu3 = _convolution(outputs // 4, outputs, 1, 1, norm)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        inner = self.convnormrelu3(self.convnormrelu2(self.convnormrelu1(frames)))
        return F.relu(self.downsample(frames) + inner)


def _shortcut(inputs: int, outputs: int, stride: int, norm: type[nn.Module] | None) -> nn.Module:
    return nn.Identity() if stride == 1 else _convolution(inputs, outputs, 1, stride, norm, rectified=False)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    norm: type[nn.Module] | None = None,
    rectified: bool = True,
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)]
    if norm is not None:
        layers.append(norm(outputs))
    if rectified:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
