"""Labels carried from frame to frame by the likeness of dense features.

As in Jabri et al., "Space-time correspondence as a contrastive random walk" (NeurIPS 2020), in the form of DINO's
eval_video_segmentation.py (Caron et al., ICCV 2021): a cell takes the labels of the cells most like it, near its place
in the first frame and in the last few, weighted by their likeness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

# C channels, K labels, n frames, h x w cells, t cells of a tile, s cells it looks at.
_TILE = 12  # cells; with the usual radius a tile looks at three times its side


class Follower:
    """Labels of one sequence. `features`: (C, h, w), of unit length over C; `labels`: (K, h, w), shares from 0 to 1.

    `top_k`, `radius` (cells), `num_frames` (beside the first) and `temperature` as `EvaluateConfig` describes them.
    """

    def __init__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        *,
        top_k: int,
        radius: int,
        num_frames: int,
        temperature: float,
    ) -> None:
        self._first = (features, labels)
        self._last = deque[tuple[torch.Tensor, torch.Tensor]](maxlen=num_frames)
        self._top_k, self._radius, self._temperature = top_k, radius, temperature

    def follow(self, features: torch.Tensor) -> torch.Tensor:
        """The labels (K, h, w) of the next frame, which itself is looked at from now on."""
        known = [self._first, *self._last]
        labels = carried(
            features,
            torch.stack([one for one, _ in known], dim=1),
            torch.stack([one for _, one in known], dim=1),
            top_k=self._top_k,
            radius=self._radius,
            temperature=self._temperature,
        )
        self._last.append((features, labels))
        return labels


def carried(
    target: torch.Tensor,
    sources: torch.Tensor,
    labels: torch.Tensor,
    *,
    top_k: int,
    radius: int,
    temperature: float,
) -> torch.Tensor:
    """(C, h, w), sources (C, n, h, w) and their labels (K, n, h, w) -> (K, h, w).

    Tile by tile, so that no affinity of all cells to all cells is ever held.
    """
    _, height, width = target.shape
    out = torch.empty(labels.shape[0], height, width, device=target.device)
    for y, near_y in _tiles(height, radius):
        for x, near_x in _tiles(width, radius):
            affinity_ts = target[:, y, x].flatten(1).T @ sources[:, :, near_y, near_x].flatten(1)
            far = _far(y, near_y, radius)[:, None, :, None] | _far(x, near_x, radius)[None, :, None, :]
            far_ts = far.reshape(len(affinity_ts), 1, -1).to(target.device)
            affinity_ts.view(len(affinity_ts), sources.shape[1], -1).masked_fill_(far_ts, float("-inf"))
            best, places = affinity_ts.topk(min(top_k, affinity_ts.shape[1]), dim=1)
            weights = functional.softmax(best / temperature, dim=1)
            found = labels[:, :, near_y, near_x].flatten(1)[:, places]
            out[:, y, x] = (found * weights).sum(dim=2).view(len(labels), y.stop - y.start, -1)
    return out


def cell_labels(mask: npt.NDArray[np.uint8], objects: list[int], cells: tuple[int, int]) -> torch.Tensor:
    """A mask (H, W) as the shares (1 + objects, h, w) that the background and each object have in each cell.

    One object after the other, as `mask_of`, so that many in a large frame ask for no more memory than one.
    """
    layers = (torch.from_numpy(mask == number)[None, None].float() for number in objects)
    shares = torch.cat([functional.interpolate(layer, size=cells, mode="area")[0] for layer in layers])
    return torch.cat([1 - shares.sum(dim=0, keepdim=True), shares])


def mask_of(labels: torch.Tensor, objects: list[int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Labels (1 + objects, h, w) as a mask (H, W) uint8 of the objects' numbers.

    Scaled up, each label stretched from 0 to 1 over the frame, and the largest one taken, as DINO does it; of equals
    the first.
    """
    mask = np.zeros(size, np.uint8)
    largest = np.full(size, -np.inf, np.float32)
    for number, label in zip([0, *objects], labels.cpu().numpy(), strict=True):
        scaled = cv2.resize(label, size[::-1], interpolation=cv2.INTER_LINEAR)
        low, high = float(scaled.min()), float(scaled.max())
        if high > 0:
            scaled = (scaled - low) / max(high - low, 1e-12)
        above = scaled > largest
        mask[above], largest[above] = number, scaled[above]
    return mask


def _tiles(length: int, radius: int) -> Iterator[tuple[slice, slice]]:
    """Runs of cells along an axis, each with what it may look at."""
    for first in range(0, length, _TILE):
        last = min(first + _TILE, length)
        yield slice(first, last), slice(max(0, first - radius), min(length, last + radius))


def _far(cells: slice, near: slice, radius: int) -> torch.Tensor:
    apart = torch.arange(cells.start, cells.stop)[:, None] - torch.arange(near.start, near.stop)[None, :]
    return apart.abs() > radius
