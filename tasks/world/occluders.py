"""Occluders: poles and panels that sweep across the view in front of every solid."""

from __future__ import annotations

import numpy as np

from tasks.world.config import WorldConfig
from tasks.world.motion import FULL_TURN, STILL, axis_rotation
from tasks.world.shapes import SHAPES
from tasks.world.solids import FOCAL_WIDTHS, SceneObject
from tasks.world.textures import bake

_NEARNESS = 0.6  # of the nearest solid's least distance: nearer than its surface whatever its size
_APART = 0.93  # from one occluder to the next
_TEXELS = 64


def make_occluders(
    config: WorldConfig, random: np.random.Generator, nearest: float, first: int, frames: tuple[int, int]
) -> tuple[SceneObject, ...]:
    """The occluders of a shot that holds `frames` (start, stop), from far to near and numbered from `first`.

    `nearest`: least distance of any solid's middle, m. Poles reach over the whole frame, panels do not. Each
    passes the middle of the view at a frame of its own, and sweeps at 1.5 to 8 px a frame (of 320 px) in view.
    """
    return tuple(
        _make_occluder(config, random, _NEARNESS * nearest * _APART**place, first + place, frames)
        for place in range(config.num_occluders)
    )


def _make_occluder(
    config: WorldConfig, random: np.random.Generator, distance: float, number: int, frames: tuple[int, int]
) -> SceneObject:
    px = distance / (FOCAL_WIDTHS * 320)  # metres a pixel of the 320 px frame
    aspect = config.height / config.width
    is_pole = random.random() < 0.5
    width = random.uniform(8, 18) if is_pole else random.uniform(18, 40)
    length = 1.6 * 320 * max(aspect, 0.5) if is_pole else random.uniform(70, 170)
    lean = random.uniform(-0.3, 0.3)
    slope = random.uniform(-0.5, 0.5) + np.pi * random.integers(2)
    half_path = random.uniform(230, 270)  # far out of view, so that in view the speed falls by a third at most
    rate = random.uniform(2.2, 8) / half_path
    middle = random.uniform(*frames)
    along = np.array([np.cos(slope), np.sin(slope)])
    centre = np.zeros(2) if is_pole else np.array([0, random.uniform(-70, 70) * aspect / 0.75])
    return SceneObject(
        number=number,
        label="occluder",
        shape=SHAPES["box"],
        scale=np.array([width / 2 * px, length / 2 * px, 0.002 * distance]) / SHAPES["box"].extent,
        texture=bake(random, (_TEXELS,) * 3, _TEXELS * random.uniform(0.12, 0.3), vivid=bool(random.random() < 0.6)),
        texels_per_metre=1 / px,
        centre=centre * px,
        major=half_path * px * along,
        minor=np.zeros(2),
        distance=distance,
        rate=rate,
        phase=FULL_TURN / 4 - rate * middle,
        approach=STILL,
        start=axis_rotation(np.array([0.0, 0, 1]), lean),
        axis=np.array([0.0, 0, 1]),
        turn=float(np.deg2rad(random.uniform(-0.1, 0.1))),
    )
