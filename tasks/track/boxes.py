"""Square boxes at working size, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A square: left, top and side in working px, float, origin at the frame's top left corner."""

    x: float
    y: float
    side: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.side / 2, self.y + self.side / 2


def centred_box(x: float, y: float, side: float) -> Box:
    """The box of a side around a point."""
    return Box(x - side / 2, y - side / 2, side)


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.x + one.side, other.x + other.side) - max(one.x, other.x)
    height = min(one.y + one.side, other.y + other.side) - max(one.y, other.y)
    overlap = max(0.0, width) * max(0.0, height)
    return overlap / (one.side**2 + other.side**2 - overlap)


def visible_share(box: Box, width: int, height: int) -> float:
    """Share of the box's area that lies inside a frame of this size, 0 to 1."""
    across = min(box.x + box.side, width) - max(box.x, 0.0)
    down = min(box.y + box.side, height) - max(box.y, 0.0)
    return max(0.0, across) * max(0.0, down) / box.side**2
