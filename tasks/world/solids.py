"""Solids: what they look like, where they are in each frame, and how a shot's are laid out in depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.world.config import WorldConfig
from tasks.world.motion import FULL_TURN, STILL, Wave, axis_rotation, random_rotation
from tasks.world.shapes import SHAPES, Floats, Shape
from tasks.world.textures import Texture, bake

WALL_M = 8.0  # distance of the background; uint16 depth at 5000/m ends at 13 m
FOCAL_WIDTHS = 1.5  # of the frame's width: 37° across
_POOLS = 1 << 30  # no video's number: apart from the streams of the videos themselves
_SLOTS_M = 0.88 * WALL_M  # in front of the leaning wall
_SLOT = 1.25  # depth of a solid's slot over its diameter: 12 % stretch, 5 % sway each way


@dataclass(frozen=True)
class SceneObject:
    """A solid that runs on an ellipse across the view and turns around an axis of its own.

    `number`: from 1, unique in the video. `scale` (3,) m stretches the unit shape; `centre`, `major`,
    `minor` (2,) m lie in the plane z = `distance`. `recede` (log of a factor) moves the solid along its line of
    sight: its place in the picture stays, its size changes.
    """

    number: int
    label: str
    shape: Shape
    scale: Floats
    texture: Texture
    texels_per_metre: float
    centre: Floats
    major: Floats
    minor: Floats
    distance: float
    rate: float
    phase: float
    approach: Wave
    start: Floats
    axis: Floats
    turn: float
    recede: Wave = STILL

    def rotation(self, frame: float) -> Floats:
        """From the solid's axes to the world's, (3, 3)."""
        return axis_rotation(self.axis, self.turn * frame) @ self.start

    def position(self, frame: float) -> Floats:
        """Of the solid's origin in the world, (3,) m."""
        angle = self.rate * frame + self.phase
        flat = self.centre + self.major * np.cos(angle) + self.minor * np.sin(angle)
        place = np.array([flat[0], flat[1], self.distance + self.approach.at(frame)])
        return np.asarray(place * np.exp(self.recede.at(frame)))


def make_objects(
    config: WorldConfig,
    seed: int,
    motion: np.random.Generator,
    look: np.random.Generator,
    kind: np.random.Generator,
    zoom: np.random.Generator,
    first: int,
) -> tuple[SceneObject, ...]:
    """Solids from far to near, each in a slot of depth of its own, so that none runs into another."""
    objects = []
    back = _SLOTS_M
    places = _places(config, motion)
    for number, size in enumerate(_sizes(config, motion)):
        recede = _make_recede(config, zoom)
        reach = float(np.exp(recede.amplitude))  # its slot holds it from nearest to farthest
        share = _SLOT * float(size) * reach
        distance = back * (1 - share / 2) / reach
        back *= (1 - share) / reach**2
        label = config.classes[int(kind.integers(len(config.classes)))]
        radius = float(size) * distance / 2
        place = places[number] * distance / FOCAL_WIDTHS
        thing = _make_object(config, seed, motion, look, label, first + number, place, distance, radius)
        objects.append(replace(thing, recede=recede))
    return tuple(objects)


def from_pool(look: np.random.Generator, size: int, seed: int, stream: int) -> np.random.Generator:
    """The generator behind a texture: that of a random member of the world's pool, or the object's own."""
    return np.random.default_rng([seed, _POOLS, stream, int(look.integers(size))]) if size else look


def _make_recede(config: WorldConfig, zoom: np.random.Generator) -> Wave:
    """A wave that swings from nearest to farthest in 30 to 45 frames, at most over `scale_change`."""
    if not config.scale_change:
        return STILL
    amplitude = zoom.uniform(0.4, 1.0) * np.log1p(config.scale_change) / 2
    return Wave(float(amplitude), np.pi / zoom.uniform(30, 45), zoom.uniform(0, FULL_TURN))


def _places(config: WorldConfig, motion: np.random.Generator) -> Floats:
    """Middles of the paths (N, 2) from the view's centre, in frame widths: a sunflower's spread, so that paths
    cross here and there but do not all bunch up."""
    number = np.arange(config.num_objects)
    angle = motion.uniform(0, FULL_TURN) + number * FULL_TURN * 0.381966  # the golden angle
    radius = np.sqrt((number + 0.5) / max(config.num_objects, 1))
    spread = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    spread += motion.uniform(-0.15, 0.15, spread.shape)
    return np.asarray(spread * [0.29, 0.22 * config.height / config.width])


def _sizes(config: WorldConfig, motion: np.random.Generator) -> Floats:
    """Diameters as shares of the distance: 55 to 115 px of a 320 px frame."""
    return np.asarray(motion.uniform(55, 115, config.num_objects) / (FOCAL_WIDTHS * 320))


def _make_object(
    config: WorldConfig,
    seed: int,
    motion: np.random.Generator,
    look: np.random.Generator,
    label: str,
    number: int,
    centre: Floats,
    distance: float,
    radius: float,
) -> SceneObject:
    shape = SHAPES[label]
    px = distance / (FOCAL_WIDTHS * config.width) * config.width / 320  # metres a pixel of the 320 px frame
    major, roundness = motion.uniform(38, 75) * px, motion.uniform(0.55, 0.95)
    slope, across = motion.uniform(-0.6, 0.6), motion.choice([-1.0, 1.0])
    stretch = motion.uniform(0.88, 1.12, 3) / shape.reach
    texels = min(max(1 << (config.width // 5 - 1).bit_length(), 16), 128)
    axis = motion.normal(size=3)
    material = from_pool(look, config.num_materials, seed, stream=1)
    return SceneObject(
        number=number,
        label=label,
        shape=shape,
        scale=radius * stretch,
        texture=bake(material, (texels,) * 3, texels * material.uniform(0.14, 0.3), vivid=True),
        texels_per_metre=texels / (2.2 * radius),
        centre=centre,
        major=major * np.array([np.cos(slope), np.sin(slope)]),
        minor=across * roundness * major * np.array([-np.sin(slope), np.cos(slope)]),
        distance=distance,
        rate=motion.uniform(1.7, 2.9) * px / major,
        phase=motion.uniform(0, FULL_TURN),
        approach=Wave(0.05 * radius, motion.uniform(0.02, 0.05), motion.uniform(0, FULL_TURN)),
        start=random_rotation(motion),
        axis=axis / np.linalg.norm(axis),
        turn=float(np.deg2rad(motion.uniform(1, 3))),
    )
