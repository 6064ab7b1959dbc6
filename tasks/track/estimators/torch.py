"""Batched pyramidal Lucas-Kanade on any torch device: all points of many frames and videos in one tensor program.

Window, levels and criteria are those of `klt`, and so is what it finds. Frames cross to the device once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.track.lucas_kanade import TakeSteps, follow_points, take_steps
from tasks.track.motion import PointMotion, PointQuery, point_motion
from tasks.track.pyramids import Pyramids, build_pyramids, stack_pyramids


@dataclass(frozen=True, eq=False)
class TorchFrame:
    """A frame, (H, W) uint8, and its pyramid on the device."""

    grey: np.ndarray
    pyramid: Pyramids


class TorchEstimator:
    """Queries whose frames have one size go together; it holds no state but compiled code."""

    def __init__(self, device: torch.device, steps: TakeSteps) -> None:
        self._device = device
        self._steps = steps

    @torch.inference_mode()
    def prepare(self, grey: np.ndarray) -> TorchFrame:
        """Upload a frame, (H, W) uint8, and build its pyramid there."""
        pixels = torch.from_numpy(np.array(grey, order="C"))  # a copy: the caller may fill its buffer anew
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        return TorchFrame(grey, build_pyramids(pixels.to(self._device)[None]))

    @torch.inference_mode()
    def follow(self, queries: Sequence[PointQuery[TorchFrame]]) -> list[PointMotion]:
        """The motion of every query's points, forward and back."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            assert query.previous.grey.shape == query.following.grey.shape, "frames of one video have one size"
            groups[query.previous.grey.shape].append(number)
        motions: dict[int, PointMotion] = {}
        for numbers in groups.values():
            motions.update(zip(numbers, self._follow_group([queries[number] for number in numbers]), strict=True))
        return [motions[number] for number in range(len(queries))]

    def _follow_group(self, queries: Sequence[PointQuery[TorchFrame]]) -> list[PointMotion]:
        frames = {id(frame): frame for query in queries for frame in (query.previous, query.following)}
        rows = {name: row for row, name in enumerate(frames)}
        pyramids = stack_pyramids([frame.pyramid for frame in frames.values()])
        counts = [len(query.points) for query in queries]
        pairs = np.array([(rows[id(query.previous)], rows[id(query.following)]) for query in queries])
        source, target = torch.from_numpy(np.repeat(pairs, counts, axis=0).T.copy()).to(self._device)
        points = np.concatenate([query.points for query in queries]).astype(np.float32)
        moved = follow_points(pyramids, source, target, torch.from_numpy(points).to(self._device), self._steps)
        back = follow_points(pyramids, target, source, moved, self._steps)
        both = np.split(torch.stack([moved, back], 1).cpu().numpy(), np.cumsum(counts)[:-1])
        return [
            point_motion(query.previous.grey, query.points, motion[:, 0], motion[:, 1])
            for query, motion in zip(queries, both, strict=True)
        ]


def make_estimator(device: str = "cpu", compiled: bool = False) -> TorchEstimator:
    """The estimator on a torch device (`cpu`, `cuda`, `cuda:1`, `mps`).

    `compiled` fuses the iterations by torch.compile, which takes seconds at the first call and needs a compiler
    on the machine; on a CPU it gains nothing that could be measured.
    """
    return TorchEstimator(torch.device(device), torch.compile(take_steps, dynamic=True) if compiled else take_steps)
