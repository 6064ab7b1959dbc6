"""Image pyramids with their slopes on a torch device, as Lucas-Kanade reads them: OpenCV's to the last bit.

Shapes: F frames, A pixels of one frame's levels, padding included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.track.lk import NUM_HALVINGS, WINDOW_PX


@dataclass(frozen=True)
class Level:
    """One image of a pyramid: its size in px, and where its padded rows begin in the flat planes."""

    height: int
    width: int
    offset: int

    @property
    def row(self) -> int:
        """Length of a padded row, px."""
        return self.width + 2 * WINDOW_PX

    @property
    def area(self) -> int:
        """Padded size, px."""
        return self.row * (self.height + 2 * WINDOW_PX)


@dataclass(frozen=True)
class Pyramids:
    """Pyramids of F frames of one size; levels lie one behind the other, padded by a window's side.

    planes: (F, 3, A) int16: grey values, reflected beyond the edge, and 32 times their slope in grey levels a px,
    across and down, 0 beyond the edge.
    """

    planes: Tensor
    levels: tuple[Level, ...]


def build_pyramids(frames: Tensor) -> Pyramids:
    """Pyramids of `frames`, (F, H, W) uint8, on their device. All numbers are whole: every device gives the same."""
    levels = _levels(*frames.shape[1:])
    planes = frames.new_zeros((len(frames), 3, sum(level.area for level in levels)), dtype=torch.int16)
    image = frames.to(torch.int16)
    for level in levels:
        image = _half(image) if level.offset else image
        held = planes.narrow(2, level.offset, level.area).view(len(frames), 3, -1, level.row)
        held[:, 0] = _reflect(image, WINDOW_PX)
        held[:, 1:, WINDOW_PX:-WINDOW_PX, WINDOW_PX:-WINDOW_PX] = _slopes(held[:, 0])
    return Pyramids(planes, levels)


def stack_pyramids(pyramids: Sequence[Pyramids]) -> Pyramids:
    """The frames of many records, all of one size, in one record."""
    assert len({each.levels for each in pyramids}) == 1, "frames of one size"
    return Pyramids(torch.cat([each.planes for each in pyramids]), pyramids[0].levels)


def _levels(height: int, width: int) -> tuple[Level, ...]:
    """As in OpenCV a pyramid ends before an image that is no larger than the window."""
    levels = [Level(height, width, 0)]
    while len(levels) <= NUM_HALVINGS and min(height + 1, width + 1) // 2 > WINDOW_PX:
        height, width = (height + 1) // 2, (width + 1) // 2
        levels.append(Level(height, width, levels[-1].offset + levels[-1].area))
    return tuple(levels)


def _half(image: Tensor) -> Tensor:
    """OpenCV's pyrDown of (F, H, W) int16: the kernel 1 4 6 4 1 both ways, every second pixel, rounded."""
    height, width = image.shape[1:]
    padded = _reflect(image, 2)
    a, b, c, d, e = (padded[:, row : row + height : 2] for row in range(5))
    tall = (a + e).add_(b + d, alpha=4).add_(c, alpha=6).int()  # at most 4,080, and 65,280 when wide too
    even, odd, half = tall[:, :, ::2].contiguous(), tall[:, :, 1::2].contiguous(), (width + 1) // 2
    a, c, e = (even.narrow(2, start, half) for start in range(3))
    b, d = (odd.narrow(2, start, half) for start in range(2))
    return (a + e).add_(b + d, alpha=4).add_(c, alpha=6).add_(128).bitwise_right_shift_(8).to(torch.int16)


def _slopes(padded: Tensor) -> Tensor:
    """Scharr's derivatives of a padded image (F, H, W) int16, of what is not padding: (F, 2, h, w) int16."""
    inner = padded[:, WINDOW_PX - 1 : 1 - WINDOW_PX, WINDOW_PX - 1 : 1 - WINDOW_PX]
    above, here, below = inner[:, :-2], inner[:, 1:-1], inner[:, 2:]
    smooth, drop = (above + below).mul_(3).add_(here, alpha=10), below - above
    across = smooth[:, :, 2:] - smooth[:, :, :-2]
    down = (drop[:, :, :-2] + drop[:, :, 2:]).mul_(3).add_(drop[:, :, 1:-1], alpha=10)
    return torch.stack([across, down], 1)


def _reflect(image: Tensor, border: int) -> Tensor:
    """The image (F, H, W) with a border, reflected without its edge row, as often as a narrow image needs."""
    for axis in (1, 2):
        period = 2 * (image.shape[axis] - 1)
        places = torch.arange(-border, image.shape[axis] + border, device=image.device)
        places = places.remainder(period) if period else torch.zeros_like(places)
        places = torch.minimum(places, period - places)
        before, after = (image.index_select(axis, part) for part in (places[:border], places[-border:]))
        image = torch.cat([before, image, after], axis)
    return image
