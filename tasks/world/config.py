"""Configuration of the generated world."""

from __future__ import annotations

from dataclasses import dataclass

RENDERER = 1
"""Raised when the same configuration and seed give other pixels: videos on disk are then made again."""

CLASSES = (
    "box",
    "capsule",
    "cone",
    "cross",
    "cylinder",
    "octahedron",
    "prism",
    "pyramid",
    "sphere",
    "torus",
)


@dataclass(frozen=True)
class WorldConfig:
    """Sizes and chances of one world. Raises ValueError naming the field, its value and the bounds.

    `width`, `height` in px, even (yuv420p needs it); speeds and object sizes scale with `width` and are
    stated for 320 px. `cut_probability`: the share of videos with one shot cut, in their middle half.
    `classes`: the shapes that appear, with equal chance and independent of colour and texture.
    `num_materials`, `num_walls`: size of the pools that all videos of a world draw their textures from; then
    texture tells neither an object's class nor its video, and shape must. 0: a texture of its own for each.

    What makes tracking hard, off by default. `num_occluders`: poles and panels, 8 to 40 px wide, that sweep across
    the view in front of every solid. `light_change_probability`: the share of videos in which the light jumps or
    flashes. `scale_change`: solids approach and recede, so that their size changes over 30 frames by a factor of up
    to 1 + `scale_change`.
    """

    width: int = 320
    height: int = 240
    num_frames: int = 64
    num_objects: int = 5
    fps: int = 25
    cut_probability: float = 0.25
    classes: tuple[str, ...] = CLASSES
    num_materials: int = 0
    num_walls: int = 0
    num_occluders: int = 0
    light_change_probability: float = 0.0
    scale_change: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"world: {name} is {value}; it must lie between {low} and {high}")
        for name in ("width", "height"):
            if getattr(self, name) % 2:
                raise ValueError(f"world: {name} is {getattr(self, name)}; it must be even")
        if not self.classes:
            raise ValueError("world: classes is empty; name at least one")
        for label in self.classes:
            if label not in CLASSES:
                raise ValueError(f"world: class {label!r} is unknown; choose one of {', '.join(CLASSES)}")


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("width", 32, 4096),
    ("height", 32, 4096),
    ("num_frames", 1, 100_000),
    ("num_objects", 0, 12),
    ("num_materials", 0, 1000),
    ("num_walls", 0, 1000),
    ("fps", 1, 240),
    ("cut_probability", 0.0, 1.0),
    ("num_occluders", 0, 6),
    ("light_change_probability", 0.0, 1.0),
    ("scale_change", 0.0, 1.0),
)


def hard_world(num_frames: int = 100) -> WorldConfig:
    """The world that trackers are judged on: occluders, cuts, changes of light and of size."""
    return WorldConfig(
        width=320,
        height=240,
        num_frames=num_frames,
        num_objects=5,
        cut_probability=0.35,
        num_occluders=2,
        light_change_probability=0.4,
        scale_change=0.35,
    )
