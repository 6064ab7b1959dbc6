"""Scenes: what is where in each frame, as a pure function of configuration, seed, video and frame.

World axes are those of the resting camera: x right, y down, z forward, in metres. A shot is one
arrangement; a video has one shot or, after a cut, two. Every motion is a closed curve in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.world.config import WorldConfig
from tasks.world.lighting import Light, LightChange, make_light_change
from tasks.world.motion import FULL_TURN, Wave, axis_rotation, make_wave
from tasks.world.occluders import make_occluders
from tasks.world.shapes import Floats
from tasks.world.solids import FOCAL_WIDTHS, WALL_M, SceneObject, from_pool, make_objects
from tasks.world.textures import Texture, bake


@dataclass(frozen=True)
class Camera:
    """A pinhole: `intrinsics` (3, 3) in px with pixel centres at whole numbers, `rotation` (3, 3) from world
    to camera, `position` (3,) m in the world."""

    intrinsics: Floats
    rotation: Floats
    position: Floats


@dataclass(frozen=True)
class Wall:
    """The background plane: points `origin` + s `axes[0]` + t `axes[1]`, s and t in metres."""

    origin: Floats
    axes: Floats
    texture: Texture
    texels_per_metre: float

    @property
    def normal(self) -> Floats:
        """Unit normal towards the camera, (3,)."""
        return np.asarray(-np.cross(self.axes[0], self.axes[1]))


@dataclass(frozen=True)
class Shot:
    """One arrangement and its motion, from `start` up to and without `stop`."""

    config: WorldConfig
    start: int
    stop: int
    objects: tuple[SceneObject, ...]
    occluders: tuple[SceneObject, ...]
    wall: Wall
    pan: Wave
    tilt: Wave
    roll: Wave
    zoom: Wave
    drift: tuple[Wave, Wave]
    lamp: Wave
    lamp_colour: Floats
    lamp_path: tuple[Wave, Wave]
    light_change: LightChange

    def camera(self, frame: float) -> Camera:
        """Intrinsics, rotation and place of the camera at a frame."""
        width, height = self.config.width, self.config.height
        focal = FOCAL_WIDTHS * width * (1 + self.zoom.at(frame))
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        rotation = (
            axis_rotation(np.array([0.0, 0, 1]), self.roll.at(frame))
            @ axis_rotation(np.array([1.0, 0, 0]), self.tilt.at(frame))
            @ axis_rotation(np.array([0, 1.0, 0]), self.pan.at(frame))
        )
        return Camera(intrinsics, rotation, np.array([self.drift[0].at(frame), self.drift[1].at(frame), 0]))

    def light(self, frame: float) -> Light:
        """Lamp and ambient light at a frame; slow but for the change of the video's light, and never dark."""
        direction = np.array([self.lamp_path[0].at(frame), -0.55 + self.lamp_path[1].at(frame), -0.8])
        gain = (1 + self.lamp.at(frame)) * self.light_change.at(frame)
        return Light(
            direction / np.linalg.norm(direction), 0.72 * gain * self.lamp_colour, np.full(3, 0.42 * gain, np.float64)
        )


def cut_frame(config: WorldConfig, seed: int, index: int) -> int | None:
    """First frame of the second shot, or None where the video has one shot."""
    random = np.random.default_rng([seed, index, 0])
    low, high = config.num_frames // 4, config.num_frames - config.num_frames // 4
    chance, place = random.random(), random.random()
    if chance >= config.cut_probability or low < 1 or high <= low:
        return None
    return low + int(place * (high - low))


def make_shot(config: WorldConfig, seed: int, index: int, frame: int) -> Shot:
    """The shot of video `index` that holds the frame; raises ValueError for a frame outside the video."""
    if not 0 <= frame < config.num_frames:
        raise ValueError(f"world: frame is {frame}; the video has frames 0 to {config.num_frames - 1}")
    cut = cut_frame(config, seed, index)
    number = int(cut is not None and frame >= cut)
    start = cut if cut is not None and number else 0
    stop = config.num_frames if cut is None or number else cut
    motion, look, kind = (np.random.default_rng([seed, index, 1 + number, stream]) for stream in range(3))
    px = config.width / 320
    zoom, sweep = (np.random.default_rng([seed, index, 1 + number, stream]) for stream in (3, 4))
    objects = make_objects(config, seed, motion, look, kind, zoom, first=1 + number * config.num_objects)
    nearest = min((thing.distance for thing in objects), default=WALL_M)
    least = min((thing.distance * np.exp(-thing.recede.amplitude) for thing in objects), default=WALL_M)
    first = 1 + 2 * config.num_objects + number * config.num_occluders
    radians = px / (FOCAL_WIDTHS * config.width)  # a pixel of the 320 px frame, in radians
    return Shot(
        config=config,
        start=start,
        stop=stop,
        objects=objects,
        occluders=make_occluders(config, sweep, float(least), first, (start, stop)),
        wall=_make_wall(config, seed, motion, look),
        pan=make_wave(motion, speed=motion.uniform(0.25, 0.7) * radians, amplitude=motion.uniform(8, 25) * radians),
        tilt=make_wave(motion, speed=motion.uniform(0.1, 0.4) * radians, amplitude=motion.uniform(4, 12) * radians),
        roll=make_wave(motion, speed=0.0010, amplitude=motion.uniform(0.01, 0.04)),
        zoom=make_wave(motion, speed=0.0015, amplitude=motion.uniform(0.02, 0.05)),
        drift=(
            make_wave(motion, speed=0.0006 * nearest, amplitude=0.02 * nearest),
            make_wave(motion, speed=0.0004 * nearest, amplitude=0.012 * nearest),
        ),
        lamp=Wave(motion.uniform(0.05, 0.2), motion.uniform(0.03, 0.08), motion.uniform(0, FULL_TURN)),
        lamp_colour=1 + look.uniform(-0.08, 0.08, 3),
        lamp_path=(
            Wave(motion.uniform(0.3, 0.7), motion.uniform(0.01, 0.03), motion.uniform(0, FULL_TURN)),
            Wave(0.2, motion.uniform(0.01, 0.03), motion.uniform(0, FULL_TURN)),
        ),
        light_change=make_light_change(config, seed, index),
    )


def _make_wall(config: WorldConfig, seed: int, motion: np.random.Generator, look: np.random.Generator) -> Wall:
    """A wall leaning by up to 10° each way, one texel a pixel at rest."""
    lean = axis_rotation(np.array([1.0, 0, 0]), motion.uniform(-0.17, 0.17)) @ axis_rotation(
        np.array([0, 1.0, 0]), motion.uniform(-0.17, 0.17)
    )
    size = 1 << (int(1.25 * config.width) - 1).bit_length()
    random = from_pool(look, config.num_walls, seed, stream=0)
    feature = random.uniform(12, 24) * config.width / 320
    texture = bake(random, (size, size), feature, vivid=False)
    return Wall(np.array([0, 0, WALL_M]), lean.T[:2], texture, FOCAL_WIDTHS * config.width / WALL_M)
