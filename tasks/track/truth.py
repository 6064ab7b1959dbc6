"""Verdicts on tracks through videos of the generated world, whose truth is known in every frame.

What a window was put on is the solid, or the occluder, that owns most of its middle. A track is right when it
ends where that thing carried the window: its centre on the thing's box (if it began there), enough of the thing in
view, and the two boxes alike. A wrong one has one cause. A window on the background is on no object,
and wrong wherever it goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.world.render import Box, Bytes, Frame, ObjectTruth

Cause = Literal["cut", "no_object", "left_view", "occlusion", "scale", "drift"]

MIN_IOU = 0.3  # with the carried box
MIN_VISIBLE = 0.25  # of the solid at the end: less shows nothing to learn from
MAX_OCCLUSION = 0.5
MAX_SCALE_ERROR = math.log(1.6)
_MIN_OWNED = 0.25
_MIDDLE = math.sqrt(0.5)  # of the sides: half of the area


@dataclass(frozen=True)
class TruthFrame:
    """What a verdict needs of one frame. `mask`: (H, W) uint8, numbers of the things, 0 the background."""

    mask: Bytes
    things: tuple[ObjectTruth, ...]
    is_cut: bool

    @classmethod
    def of(cls, frame: Frame) -> TruthFrame:
        return cls(frame.mask, frame.objects + frame.occluders, frame.is_cut)


@dataclass(frozen=True)
class Verdict:
    """How a track ended. `cause` is empty for a right one.

    `target`: number of the solid or occluder, 0 where the window was on the background. Errors are those of the last
    box against the carried one: the distance of the centres in px and as a share of the carried box's side, and the
    log of the ratio of their sides. They are NaN, and `iou` 0, where there is none: nothing to carry the window, a
    cut, or a target far out of view.
    """

    right: bool
    cause: Cause | Literal[""]
    target: int
    centre_error_px: float = math.nan
    centre_error_share: float = math.nan
    scale_error: float = math.nan
    iou: float = 0.0


def judge_track(boxes: Sequence[Box], start: int, frames: Sequence[TruthFrame], target: int | None = None) -> Verdict:
    """The verdict on a track with one box a frame, (x, y, width, height) in px of the video, from frame `start` on.

    `target`: number of the thing that the first box was put on, where that is known (a true box).
    Raises ValueError for a track without boxes or one that ends after the video.
    """
    if not boxes or start + len(boxes) > len(frames):
        raise ValueError(f"a track of {len(boxes)} boxes from frame {start} in a video of {len(frames)} frames")
    path = frames[start : start + len(boxes)]
    target = target_of(boxes[0], path[0]) if target is None else target
    if any(frame.is_cut for frame in path[1:]):
        return Verdict(False, "cut", target)
    if not target:
        return Verdict(False, "no_object", 0)
    truths = [next(thing for thing in frame.things if thing.object == target) for frame in path]
    last, end = truths[-1], boxes[-1]
    if not last.full_box[2]:
        return Verdict(False, "left_view", target)  # far outside: nothing to carry the window to
    carried = carry(boxes[0], truths[0].full_box, last.full_box)
    error_px = math.dist(_centre(end), _centre(carried))
    scale_error = (math.log(_side(end)) - math.log(_side(carried))) if _side(end) else -math.inf
    overlap = iou(end, carried)
    inside = intersection(last.full_box, _frame_box(path[-1]))
    # A window may lie half beside a small solid: its centre need not move onto it.
    is_centred = _contains(inside, _centre(end)) or not _contains(truths[0].full_box, _centre(boxes[0]))
    is_right = bool(is_centred and last.visibility >= MIN_VISIBLE and overlap > MIN_IOU)
    cause: Cause | Literal[""] = "" if is_right else _cause(truths, path[-1], carried, is_centred, scale_error)
    return Verdict(is_right, cause, target, error_px, error_px / _side(carried), scale_error, overlap)


def can_be_followed(window: Box, start: int, num_frames: int, frames: Sequence[TruthFrame]) -> bool:
    """Whether a tracker without error would be right with this window, `num_frames` after its start."""
    if start + num_frames >= len(frames):
        return False
    target = target_of(window, frames[start])
    before, after = (
        next((thing.full_box for thing in frames[place].things if thing.object == target), None)
        for place in (start, start + num_frames)
    )
    if before is None or after is None:
        return False
    return judge_track([window] * num_frames + [carry(window, before, after)], start, frames, target).right


def target_of(window: Box, frame: TruthFrame) -> int:
    """The number of the solid or occluder that owns most pixels in the middle half of a window.

    0 where the background owns all but a quarter of it: windows are larger than small solids.
    """
    x, y = _centre(window)
    width, height = window[2] * _MIDDLE, window[3] * _MIDDLE
    rows, columns = frame.mask.shape
    top, bottom = _pixels(y - height / 2, y + height / 2, rows)
    left, right = _pixels(x - width / 2, x + width / 2, columns)
    counts = np.bincount(frame.mask[top:bottom, left:right].ravel(), minlength=2)
    number = 1 + int(counts[1:].argmax())
    return number if counts[number] >= _MIN_OWNED * counts.sum() else 0


def carry(window: Box, before: Box, after: Box) -> Box:
    """Where a window goes that keeps its place and size relative to a box that changes."""
    across, down = after[2] / before[2], after[3] / before[3]
    x, y = after[0] + (window[0] - before[0]) * across, after[1] + (window[1] - before[1]) * down
    return x, y, window[2] * across, window[3] * down


def iou(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    _, _, width, height = intersection(one, other)
    overlap = width * height
    union = one[2] * one[3] + other[2] * other[3] - overlap
    return overlap / union if union > 0 else 0.0


def intersection(one: Box, other: Box) -> Box:
    """What two boxes share; of no size where they do not meet."""
    x, y = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    return x, y, max(0.0, right - x), max(0.0, bottom - y)


def _cause(
    truths: Sequence[ObjectTruth], frame: TruthFrame, carried: Box, is_centred: bool, scale_error: float
) -> Cause:
    """Why a track that crosses no cut and was on something ended wrong; `frame`: its last one."""
    last = truths[-1]
    inside = intersection(last.full_box, _frame_box(frame))
    is_out = inside[2] * inside[3] < MIN_VISIBLE * last.full_box[2] * last.full_box[3]
    if is_out or not _contains(_frame_box(frame), _centre(carried)):
        return "left_view"
    if last.visibility < MIN_VISIBLE or max(truth.occlusion for truth in truths) > MAX_OCCLUSION:
        return "occlusion"
    return "scale" if is_centred and abs(scale_error) > MAX_SCALE_ERROR else "drift"


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """Pixels whose middles lie between two edges, at least one, inside the frame."""
    first = min(max(math.ceil(low - 0.5), 0), size - 1)
    return first, max(min(math.ceil(high - 0.5), size), first + 1)


def _frame_box(frame: TruthFrame) -> Box:
    height, width = frame.mask.shape
    return 0.0, 0.0, float(width), float(height)


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _side(box: Box) -> float:
    """Of the square with the box's area."""
    return math.sqrt(box[2] * box[3])


def _contains(box: Box, point: tuple[float, float]) -> bool:
    return box[0] <= point[0] < box[0] + box[2] and box[1] <= point[1] < box[1] + box[3]
