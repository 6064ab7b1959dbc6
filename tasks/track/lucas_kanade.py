"""Pyramidal Lucas-Kanade (Bouguet) as one tensor program: all points of many frames at once, on any torch device.

A Gauss-Newton step from displacement d is linear in the sums of slope * J(d) over the window, and J is read
bilinearly: so from one whole pixel to the next the step is bilinear in d. A window is therefore correlated once
with the 4 x 4 whole-pixel places around its guess, which gives a table of steps, and an iteration reads two numbers
of it instead of a window. Only points that walk off their table get another. The steps, and all that ends a search,
are OpenCV's, without its fixed-point rounding.

Shapes: N points, W = 11 the window's side in px. All arithmetic is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from tasks.track.lk import MAX_STEPS, MIN_EIGENVALUE, STEP_PX, WINDOW_PX
from tasks.track.pyramids import Level, Pyramids

_SWING_PX = 0.01  # OpenCV's: a search ends half-way where two steps cancel each other as closely
_MIN_DETERMINANT = 2.0**-23  # OpenCV's, in its units
_OPENCV_UNIT = 2.0**-20  # of a product of slopes
_SLOPE_GAIN = 32.0  # of the pyramids' slopes
_HALF_PX = WINDOW_PX // 2
_TABLE = 4  # places of a table each way: the guess lies in the middle cell of three
_TABLE_UNIT = 2 / (_TABLE - 1)  # a px in grid_sample's measure, in which the outermost places are at -1 and 1
_STEPS_AT_ONCE = 4  # until points that have ended are set aside, for which the CPU must wait for the device
_CHUNK_POINTS = {"cpu": 4096, "cuda": 32768, "mps": 32768}
"""Points followed at a time, which bounds memory: a point needs about 8 KB on its way. 260 MB keep a GPU busy; on a
CPU smaller chunks pay more for calls (1,024 points take 1.3 times as long each), larger ones gain little."""

Steps = tuple[Tensor, Tensor, Tensor, Tensor]
TakeSteps = Callable[[Tensor, Tensor, Tensor, Tensor], Steps]
"""`take_steps`, or what torch.compile makes of it."""


@dataclass(frozen=True)
class _Templates:
    """What a level's search needs of the windows around N points of the source frame.

    slopes: (N, 2, W * W), across and down. products: (N, 2), of slopes and grey values. inverse: (N, 2, 2), of the
    slopes' Gram matrix. good: (N,) bool, the window can be read and has texture in both directions.
    """

    slopes: Tensor
    products: Tensor
    inverse: Tensor
    good: Tensor


def follow_points(
    pyramids: Pyramids, source: Tensor, target: Tensor, points: Tensor, steps: TakeSteps | None = None
) -> Tensor:
    """Where points of the frames `source` lie in the frames `target`: (N, 2) float32 px, NaN where lost.

    source, target: (N,) int64, rows of `pyramids`. points: (N, 2) float32, x and y in px. Lost are points that are
    not finite, those without texture around them, and those whose window leaves the frame altogether.
    """
    size = _CHUNK_POINTS[points.device.type]
    chunks = [slice(start, start + size) for start in range(0, len(points), size)]
    parts = [_follow_chunk(pyramids, source[at], target[at], points[at], steps or take_steps) for at in chunks]
    return torch.cat(parts) if parts else torch.empty_like(points)


def take_steps(table: Tensor, at: Tensor, last: Tensor, count: Tensor) -> Steps:
    """A few Gauss-Newton steps of every point in its table (N, 2, 4, 4); what follows a point's last one is forgotten.

    at, last: (N, 2), place and previous step; count: (N,) int64, steps so far. Returns the three, and whether the
    search has ended (N,) bool. A point also stops where it leaves its table, beyond -1 to 1.
    """
    places, moves = [], [last]
    for _ in range(_STEPS_AT_ONCE):
        moves.append(grid_sample(table, at[:, None, None], padding_mode="border", align_corners=True).flatten(1))
        at = at + moves[-1]
        places.append(at)
    ends, new = torch.stack(places), torch.stack(moves[1:])
    settled = new.square().sum(2) <= (STEP_PX * _TABLE_UNIT) ** 2
    swung = ((new + torch.stack(moves[:-1])).abs().amax(2) < _SWING_PX * _TABLE_UNIT) & ~settled
    counts = count + torch.arange(1, _STEPS_AT_ONCE + 1, device=at.device)[:, None]
    done = settled | swung | (counts >= MAX_STEPS)
    stopped = done | (ends.abs().amax(2) > 1)
    final = (stopped.int().cumsum(0) == 0).sum(0, keepdim=True).clamp(max=_STEPS_AT_ONCE - 1)
    pair = final[..., None].expand(-1, -1, 2)
    ends = torch.where(swung[..., None], ends - new / 2, ends)
    return ends.gather(0, pair)[0], new.gather(0, pair)[0], counts.gather(0, final)[0], done.gather(0, final)[0]


def _follow_chunk(pyramids: Pyramids, source: Tensor, target: Tensor, points: Tensor, steps: TakeSteps) -> Tensor:
    known = torch.isfinite(points).all(1)
    start = torch.where(known[:, None], points, 0.0)
    moved = start / 2 ** len(pyramids.levels)
    for number, level in reversed(list(enumerate(pyramids.levels))):
        templates = _templates(pyramids, level, source, start / 2**number - _HALF_PX)
        moved = _descend(pyramids, level, target, templates, moved * 2 - _HALF_PX, steps) + _HALF_PX
    ended = known & templates.good & _is_readable(moved - _HALF_PX, level)
    return torch.where(ended[:, None], moved, torch.nan)


def _templates(pyramids: Pyramids, level: Level, source: Tensor, corners: Tensor) -> _Templates:
    """Of the windows whose top left corners are given, (N, 2) px of this level."""
    cell = _held(torch.floor(corners), level, 1)
    _, num_planes, area = pyramids.planes.shape
    planes = torch.arange(num_planes, device=corners.device) * area
    windows = _gather(pyramids, level, _position(pyramids, level, source, cell)[:, None] + planes, WINDOW_PX + 1)
    part = (corners - cell).clamp(0, 1)[:, :, None, None, None]
    windows = torch.lerp(windows[..., :-1, :], windows[..., 1:, :], part[:, 1])
    windows = torch.lerp(windows[..., :-1], windows[..., 1:], part[:, 0]).flatten(2)
    slopes = windows[:, 1:]
    products = torch.bmm(slopes, windows.transpose(1, 2))
    scaled = products * _OPENCV_UNIT  # (N, 2, 3): by grey values, slopes across and slopes down
    xx, xy, yy = scaled[:, 0, 1], scaled[:, 0, 2], scaled[:, 1, 2]
    determinant = xx * yy - xy * xy
    eigenvalue = (xx + yy - torch.sqrt((xx - yy).square() + 4 * xy.square())) / (2 * WINDOW_PX**2)
    good = _is_readable(corners, level) & (eigenvalue >= MIN_EIGENVALUE) & (determinant >= _MIN_DETERMINANT)
    inverse = torch.stack([yy, -xy, -xy, xx], 1) / torch.where(good, determinant, 1.0)[:, None] * _OPENCV_UNIT
    return _Templates(slopes, products[:, :, 0], inverse.view(-1, 2, 2), good)


def _descend(
    pyramids: Pyramids, level: Level, target: Tensor, templates: _Templates, corners: Tensor, steps: TakeSteps
) -> Tensor:
    """The best places of windows in the target frame, from a guess; both (N, 2) px, of top left corners."""
    last = torch.full_like(corners, torch.inf)
    count = torch.zeros_like(target)
    left = (templates.good & _is_readable(corners, level)).nonzero().squeeze(1)
    while len(left):
        at = corners[left]
        cell = _held(torch.floor(at) - 1, level, _TABLE - 1)
        table = _step_table(pyramids, level, target, templates, left, cell)
        at, *state, done = _walk(table, (at - cell) * _TABLE_UNIT - 1, last[left], count[left], steps)
        at = (at + 1) / _TABLE_UNIT + cell
        corners, last, count = (
            whole.index_copy(0, left, part) for whole, part in zip((corners, last, count), (at, *state), strict=True)
        )
        left = left[~done & _is_readable(at, level)]
    return corners


def _step_table(
    pyramids: Pyramids, level: Level, target: Tensor, templates: _Templates, chosen: Tensor, cell: Tensor
) -> Tensor:
    """Gauss-Newton steps of chosen windows when at `cell` and up to 3 px right and below: (N, 2, 4, 4)."""
    start = _position(pyramids, level, target[chosen], cell)
    patch = _gather(pyramids, level, start, WINDOW_PX + _TABLE - 1)
    # Columns lie by shift, (N, 4, 14 * W): the window at any row is then one run of memory.
    columns = patch.unfold(2, WINDOW_PX, 1).transpose(1, 2).flatten(2)
    slopes = templates.slopes.index_select(0, chosen).transpose(1, 2)
    rows = [torch.bmm(columns.narrow(2, WINDOW_PX * row, WINDOW_PX**2), slopes) for row in range(_TABLE)]
    difference = torch.cat(rows, 1) - templates.products[chosen][:, None]
    table = torch.bmm(difference, templates.inverse[chosen] * (-_SLOPE_GAIN * _TABLE_UNIT))
    return table.transpose(1, 2).reshape(-1, 2, _TABLE, _TABLE)


def _walk(table: Tensor, at: Tensor, last: Tensor, count: Tensor, steps: TakeSteps) -> Steps:
    """Take steps until every point's search has ended or left its table; as `take_steps`."""
    done = torch.zeros_like(count, dtype=torch.bool)
    left = torch.arange(len(at), device=at.device)
    while len(left):
        parts = steps(table[left], at[left], last[left], count[left])
        at, last, count, done = (
            whole.index_copy(0, left, part) for whole, part in zip((at, last, count, done), parts, strict=True)
        )
        left = left[~parts[3] & (parts[0].abs() <= 1).all(1)]
    return at, last, count, done


def _gather(pyramids: Pyramids, level: Level, start: Tensor, side: int) -> Tensor:
    """Squares of a level, read from positions `start` (any shape): (*start, side, side) float32."""
    flat = pyramids.planes.flatten()
    runs = flat.as_strided((flat.numel() - side + 1, side), (1, 1))  # whole rows are copied, not pixel by pixel
    rows = start[..., None] + torch.arange(side, device=start.device) * level.row
    return runs.index_select(0, rows.flatten()).view(*rows.shape, side).float()


def _position(pyramids: Pyramids, level: Level, frame: Tensor, cell: Tensor) -> Tensor:
    """Where the grey values at `cell` (N, 2) of frames (N,) stand in the flat planes: (N,) int64."""
    x, y = (cell.long() + WINDOW_PX).unbind(1)
    return frame * pyramids.planes[0].numel() + level.offset + y * level.row + x


def _held(cell: Tensor, level: Level, room: int) -> Tensor:
    """Whole pixels (N, 2) held to where what is read from them lies in the padded level."""
    x, y = cell.unbind(1)
    return torch.stack([x.clamp(-WINDOW_PX, level.width - room), y.clamp(-WINDOW_PX, level.height - room)], 1)


def _is_readable(corners: Tensor, level: Level) -> Tensor:
    """Whether windows with these corners touch the level, as OpenCV asks it: (N,) bool."""
    x, y = torch.floor(corners).unbind(1)
    return (x >= -WINDOW_PX) & (x < level.width) & (y >= -WINDOW_PX) & (y < level.height)
