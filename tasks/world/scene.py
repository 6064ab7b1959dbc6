"""Scenes: what is where in each frame, as a pure function of configuration, seed, video and frame.

World axes are those of the resting camera: x right, y down, z forward, in metres. A shot is one
arrangement; a video has one shot or, after a cut, two. Every motion is a closed curve in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.world.config import WorldConfig
from tasks.world.shapes import SHAPES, Floats, Shape
from tasks.world.textures import Texture, bake

_WALL_M = 8.0  # distance of the background; uint16 depth at 5000/m ends at 13 m
_POOLS = 1 << 30  # no video's number: apart from the streams of the videos themselves
_SLOTS_M = 0.88 * _WALL_M  # in front of the leaning wall
_SLOT = 1.25  # depth of a solid's slot over its diameter: 12 % stretch, 5 % sway each way
_FOCAL_WIDTHS = 1.5  # of the frame's width: 37° across
_TURN = 2 * np.pi


@dataclass(frozen=True)
class Wave:
    """amplitude * sin(rate * frame + phase), the rate in radians per frame."""

    amplitude: float
    rate: float
    phase: float

    def at(self, frame: float) -> float:
        return float(self.amplitude * np.sin(self.rate * frame + self.phase))


@dataclass(frozen=True)
class SceneObject:
    """A solid that runs on an ellipse across the view and turns around an axis of its own.

    `number`: from 1, unique in the video. `scale` (3,) m stretches the unit shape; `centre`, `major`,
    `minor` (2,) m lie in the plane z = `distance`.
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

    def rotation(self, frame: float) -> Floats:
        """From the solid's axes to the world's, (3, 3)."""
        return _axis_rotation(self.axis, self.turn * frame) @ self.start

    def position(self, frame: float) -> Floats:
        """Of the solid's origin in the world, (3,) m."""
        angle = self.rate * frame + self.phase
        flat = self.centre + self.major * np.cos(angle) + self.minor * np.sin(angle)
        return np.array([flat[0], flat[1], self.distance + self.approach.at(frame)])


@dataclass(frozen=True)
class Camera:
    """A pinhole: `intrinsics` (3, 3) in px with pixel centres at whole numbers, `rotation` (3, 3) from world
    to camera, `position` (3,) m in the world."""

    intrinsics: Floats
    rotation: Floats
    position: Floats


@dataclass(frozen=True)
class Light:
    """`direction` (3,) points from surfaces to the lamp; `lamp` and `ambient` (3,) multiply the texture."""

    direction: Floats
    lamp: Floats
    ambient: Floats


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
    wall: Wall
    pan: Wave
    tilt: Wave
    roll: Wave
    zoom: Wave
    drift: tuple[Wave, Wave]
    lamp: Wave
    lamp_colour: Floats
    lamp_path: tuple[Wave, Wave]

    def camera(self, frame: float) -> Camera:
        """Intrinsics, rotation and place of the camera at a frame."""
        width, height = self.config.width, self.config.height
        focal = _FOCAL_WIDTHS * width * (1 + self.zoom.at(frame))
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        rotation = (
            _axis_rotation(np.array([0.0, 0, 1]), self.roll.at(frame))
            @ _axis_rotation(np.array([1.0, 0, 0]), self.tilt.at(frame))
            @ _axis_rotation(np.array([0, 1.0, 0]), self.pan.at(frame))
        )
        return Camera(intrinsics, rotation, np.array([self.drift[0].at(frame), self.drift[1].at(frame), 0]))

    def light(self, frame: float) -> Light:
        """Lamp and ambient light at a frame; the gain is slow and stays above 0."""
        direction = np.array([self.lamp_path[0].at(frame), -0.55 + self.lamp_path[1].at(frame), -0.8])
        gain = 1 + self.lamp.at(frame)
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
    objects = _make_objects(config, seed, motion, look, kind, first=1 + number * config.num_objects)
    nearest = min((thing.distance for thing in objects), default=_WALL_M)
    radians = px / (_FOCAL_WIDTHS * config.width)  # a pixel of the 320 px frame, in radians
    return Shot(
        config=config,
        start=start,
        stop=stop,
        objects=objects,
        wall=_make_wall(config, seed, motion, look),
        pan=_wave(motion, speed=motion.uniform(0.25, 0.7) * radians, amplitude=motion.uniform(8, 25) * radians),
        tilt=_wave(motion, speed=motion.uniform(0.1, 0.4) * radians, amplitude=motion.uniform(4, 12) * radians),
        roll=_wave(motion, speed=0.0010, amplitude=motion.uniform(0.01, 0.04)),
        zoom=_wave(motion, speed=0.0015, amplitude=motion.uniform(0.02, 0.05)),
        drift=(
            _wave(motion, speed=0.0006 * nearest, amplitude=0.02 * nearest),
            _wave(motion, speed=0.0004 * nearest, amplitude=0.012 * nearest),
        ),
        lamp=Wave(motion.uniform(0.05, 0.2), motion.uniform(0.03, 0.08), motion.uniform(0, _TURN)),
        lamp_colour=1 + look.uniform(-0.08, 0.08, 3),
        lamp_path=(
            Wave(motion.uniform(0.3, 0.7), motion.uniform(0.01, 0.03), motion.uniform(0, _TURN)),
            Wave(0.2, motion.uniform(0.01, 0.03), motion.uniform(0, _TURN)),
        ),
    )


def _make_wall(config: WorldConfig, seed: int, motion: np.random.Generator, look: np.random.Generator) -> Wall:
    """A wall leaning by up to 10° each way, one texel a pixel at rest."""
    lean = _axis_rotation(np.array([1.0, 0, 0]), motion.uniform(-0.17, 0.17)) @ _axis_rotation(
        np.array([0, 1.0, 0]), motion.uniform(-0.17, 0.17)
    )
    size = 1 << (int(1.25 * config.width) - 1).bit_length()
    random = _from_pool(look, config.num_walls, seed, stream=0)
    feature = random.uniform(12, 24) * config.width / 320
    texture = bake(random, (size, size), feature, vivid=False)
    return Wall(np.array([0, 0, _WALL_M]), lean.T[:2], texture, _FOCAL_WIDTHS * config.width / _WALL_M)


def _from_pool(look: np.random.Generator, size: int, seed: int, stream: int) -> np.random.Generator:
    """The generator behind a texture: that of a random member of the world's pool, or the object's own."""
    return np.random.default_rng([seed, _POOLS, stream, int(look.integers(size))]) if size else look


def _make_objects(
    config: WorldConfig,
    seed: int,
    motion: np.random.Generator,
    look: np.random.Generator,
    kind: np.random.Generator,
    first: int,
) -> tuple[SceneObject, ...]:
    """Solids from far to near, each in a slot of depth of its own, so that none runs into another."""
    objects = []
    back = _SLOTS_M
    places = _places(config, motion)
    for number, size in enumerate(_sizes(config, motion)):
        share = _SLOT * float(size)
        distance = back * (1 - share / 2)
        back *= 1 - share
        label = config.classes[int(kind.integers(len(config.classes)))]
        radius = float(size) * distance / 2
        place = places[number] * distance / _FOCAL_WIDTHS
        objects.append(_make_object(config, seed, motion, look, label, first + number, place, distance, radius))
    return tuple(objects)


def _places(config: WorldConfig, motion: np.random.Generator) -> Floats:
    """Middles of the paths (N, 2) from the view's centre, in frame widths: a sunflower's spread, so that paths
    cross here and there but do not all bunch up."""
    number = np.arange(config.num_objects)
    angle = motion.uniform(0, _TURN) + number * _TURN * 0.381966  # the golden angle
    radius = np.sqrt((number + 0.5) / max(config.num_objects, 1))
    spread = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    spread += motion.uniform(-0.15, 0.15, spread.shape)
    return np.asarray(spread * [0.29, 0.22 * config.height / config.width])


def _sizes(config: WorldConfig, motion: np.random.Generator) -> Floats:
    """Diameters as shares of the distance: 55 to 115 px of a 320 px frame."""
    return np.asarray(motion.uniform(55, 115, config.num_objects) / (_FOCAL_WIDTHS * 320))


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
    px = distance / (_FOCAL_WIDTHS * config.width) * config.width / 320  # metres a pixel of the 320 px frame
    major, roundness = motion.uniform(38, 75) * px, motion.uniform(0.55, 0.95)
    slope, across = motion.uniform(-0.6, 0.6), motion.choice([-1.0, 1.0])
    stretch = motion.uniform(0.88, 1.12, 3) / shape.reach
    texels = min(max(1 << (config.width // 5 - 1).bit_length(), 16), 128)
    axis = motion.normal(size=3)
    material = _from_pool(look, config.num_materials, seed, stream=1)
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
        phase=motion.uniform(0, _TURN),
        approach=Wave(0.05 * radius, motion.uniform(0.02, 0.05), motion.uniform(0, _TURN)),
        start=_random_rotation(motion),
        axis=axis / np.linalg.norm(axis),
        turn=float(np.deg2rad(motion.uniform(1, 3))),
    )


def _wave(random: np.random.Generator, speed: float, amplitude: float) -> Wave:
    """A wave of a given highest speed per frame."""
    return Wave(float(amplitude), float(speed / amplitude), float(random.uniform(0, _TURN)))


def _axis_rotation(axis: Floats, angle: float) -> Floats:
    """Rodrigues: the turn by `angle` radians around a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def _random_rotation(random: np.random.Generator) -> Floats:
    """Uniform over all rotations: from a unit quaternion."""
    w, x, y, z = (lambda q: q / np.linalg.norm(q))(random.normal(size=4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
