"""RAFT, a learned dense flow, with weights of the user's: small or large, whichever the file holds.

Tensors: B pairs of frames of one padded size, N points of each, (H, W) px.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

from tasks.track.motion import PointMotion, PointQuery, point_motion
from tasks.track.raft_layers import STRIDE
from tasks.track.raft_network import MIN_SIDE_PX, Raft, network_of, sample_at
from tasks.track.raft_weights import weights_path

# Numbers in the finest correlations of one batch, 1 GB: some 50 pairs of 427 x 240 px go together.
_MAX_CORRELATIONS = 2**28


@dataclass(eq=False)
class RaftFrame:
    """A frame, its pixels on the device ((H, W) uint8), and what the network made of it once it was asked for."""

    grey: np.ndarray
    pixels: torch.Tensor
    encoded: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width that the network takes, px."""
        height, width = (max(MIN_SIDE_PX, -(-side // STRIDE) * STRIDE) for side in self.grey.shape)
        return height, width


class RaftEstimator:
    """Pairs of one size go through the network together, forward and backward in one batch; on CUDA in bfloat16."""

    def __init__(self, network: Raft, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device)

    def prepare(self, grey: np.ndarray) -> RaftFrame:
        """The frame on the device; it is encoded with the first batch that it takes part in."""
        return RaftFrame(grey, torch.from_numpy(np.ascontiguousarray(grey)).to(self._device))

    @torch.inference_mode()
    def follow(self, queries: Sequence[PointQuery[RaftFrame]]) -> list[PointMotion]:
        """The motion of every query's points."""
        motions: dict[int, PointMotion] = {}
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            if len(query.points) == 0:
                motions[number] = point_motion(query.previous.grey, query.points, query.points, query.points)
            else:
                groups[query.previous.padded].append(number)
        for (height, width), numbers in groups.items():
            places = height * width // STRIDE**2
            size = max(1, _MAX_CORRELATIONS // (2 * places**2))
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                motions.update(zip(batch, self._follow_batch([queries[number] for number in batch]), strict=True))
        return [motions[number] for number in range(len(queries))]

    def _follow_batch(self, queries: Sequence[PointQuery[RaftFrame]]) -> list[PointMotion]:
        forward, backward = self._flows(queries)
        counts = [len(query.points) for query in queries]
        given = torch.zeros(len(queries), max(counts), 2)
        for row, query in enumerate(queries):
            given[row, : counts[row]] = torch.from_numpy(query.points)
        points = given.to(self._device)
        sizes = torch.tensor([query.previous.grey.shape[::-1] for query in queries], dtype=torch.float32)
        last = sizes.to(self._device)[:, None] - 1  # (B, 1, 2): what is padding gives no motion
        moved = points + _at(forward, points, last)
        back = moved + _at(backward, moved, last)
        both = torch.stack([moved, back], dim=1).cpu().numpy()
        return [
            point_motion(query.previous.grey, query.points, both[row, 0, :count], both[row, 1, :count])
            for row, (query, count) in enumerate(zip(queries, counts, strict=True))
        ]

    def _flows(self, queries: Sequence[PointQuery[RaftFrame]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Flow from the previous frames to the following ones, and back: (B, 2, H, W) float32 each."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            self._encode([frame for query in queries for frame in (query.previous, query.following)])
            previous, previous_context = _stacked([query.previous for query in queries])
            following, following_context = _stacked([query.following for query in queries])
            flow = self._network.flow(
                torch.cat([previous, following]),
                torch.cat([following, previous]),
                torch.cat([previous_context, following_context]),
            )
        forward, backward = flow.chunk(2)
        return forward, backward

    def _encode(self, frames: Sequence[RaftFrame]) -> None:
        fresh = list({id(frame): frame for frame in frames if frame.encoded is None}.values())
        if not fresh:
            return
        features, context = self._network.encode(torch.stack([_pixels(frame) for frame in fresh]))
        for frame, *encoded in zip(fresh, features, context, strict=True):
            frame.encoded = encoded[0].clone(), encoded[1].clone()  # no view: it would keep the whole batch


def make_estimator(device: str = "cpu") -> RaftEstimator:
    """The estimator with the weights that TRITRACK_RAFT_WEIGHTS names, on a torch device.

    Raises ValueError where the variable names no file, or one without the weights of a RAFT network.
    """
    path = weights_path()
    try:
        network = network_of(read_weights(path))
    except ValueError as error:
        raise ValueError(f"raft: {path}: {error}") from error
    return RaftEstimator(network, device)


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """Tensors by name of a .safetensors file, or of one that torch.save wrote; no code of the file ever runs.

    Raises ValueError where the file is neither.
    """
    try:
        if path.suffix == ".safetensors":
            loaded: dict[str, torch.Tensor] = load_file(path)
            return loaded
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise ValueError("the file holds no weights in safetensors or in torch's format") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError("the file holds something else than tensors by name")
    return weights


def _pixels(frame: RaftFrame) -> torch.Tensor:
    """(3, H, W) float32, -1 to 1 as the weights were trained; padded on the right and below by the edge's pixels."""
    height, width = frame.grey.shape
    rows, columns = frame.padded
    scaled = frame.pixels.float() / 127.5 - 1
    padded = F.pad(scaled[None, None], (0, columns - width, 0, rows - height), mode="replicate")
    return padded[0].expand(3, -1, -1)


def _stacked(frames: Sequence[RaftFrame]) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = [frame.encoded for frame in frames if frame.encoded is not None]
    assert len(encoded) == len(frames), "frames are encoded before they are compared"
    return torch.stack([features for features, _ in encoded]), torch.stack([context for _, context in encoded])


def _at(flow: torch.Tensor, points: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Flow (B, 2, H, W) at points (B, N, 2): (B, N, 2); outside the frame that of its nearest pixel."""
    inside = torch.minimum(points.clamp(min=0), last)
    return sample_at(flow, inside[:, None])[:, :, 0].transpose(1, 2)
