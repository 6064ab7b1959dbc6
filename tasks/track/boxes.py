"""Boxes at working size, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in working px, float, origin at the frame's top left corner. Mined windows are squares."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


def square(x: float, y: float, side: float) -> Box:
    """The square with its top left corner at a point."""
    return Box(x, y, side, side)


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    overlap = max(0.0, width) * max(0.0, height)
    return overlap / (one.width * one.height + other.width * other.height - overlap)


def visible_share(box: Box, width: int, height: int) -> float:
    """Share of the box's area that lies inside a frame of this size, 0 to 1."""
    across = min(box.x + box.width, width) - max(box.x, 0.0)
    down = min(box.y + box.height, height) - max(box.y, 0.0)
    return max(0.0, across) * max(0.0, down) / (box.width * box.height)
