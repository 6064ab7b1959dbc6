"""A view: one frame's camera, light and solids, as the matrices that casting and truth need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.world.lighting import Light
from tasks.world.scene import Camera, Shot, Wall
from tasks.world.shapes import Floats, turn
from tasks.world.solids import SceneObject

Coordinates = Floats | npt.NDArray[np.intp]


@dataclass(frozen=True)
class Solid:
    """One solid in one frame.

    A pixel (u, v) sees the points `origin` + depth * `from_image` @ (u, v, 1) of the solid's own frame,
    depth in metres along the camera's optical axis. `to_image` (3, 4) projects own points, homogeneous.
    `normals_to_world` (3, 3) is the inverse transpose of the stretch, then the turn.
    """

    thing: SceneObject
    origin: Floats
    from_image: Floats
    to_image: Floats
    normals_to_world: Floats

    def directions(self, u: Coordinates, v: Coordinates) -> Floats:
        """Rays (3, N) in the solid's own frame."""
        return np.asarray(np.stack([row[0] * u + row[1] * v + row[2] for row in self.from_image]))

    def local_points(self, u: Coordinates, v: Coordinates, depth: Floats) -> Floats:
        """Points (3, N) of the solid's own frame that pixels see at given depths."""
        return np.asarray(self.origin[:, None] + depth * self.directions(u, v))

    def project(self, points: Floats) -> Floats:
        """Image positions (2, N) of own points (3, N)."""
        places = turn(self.to_image[:, :3], points) + self.to_image[:, 3:]
        return np.asarray(places[:2] / places[2])

    def bounds(self, limit: int) -> tuple[int, int, int, int]:
        """Pixels left, top, right, bottom (the last two excluded) around the whole solid, -limit to limit."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]).T
        corners = self.project(np.array(self.thing.shape.extent)[:, None] * signs)
        low = np.clip(np.floor(corners.min(axis=1)), -limit, limit).astype(int)
        high = np.clip(np.ceil(corners.max(axis=1)) + 1, -limit, limit).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


@dataclass(frozen=True)
class View:
    """`wall_to_image` (3, 3) takes the wall's (s, t, 1) in metres to pixels, homogeneous, third row the depth.
    `solids`: the shot's objects in their order, then its occluders."""

    width: int
    height: int
    camera: Camera
    light: Light
    wall: Wall
    wall_to_image: Floats
    solids: tuple[Solid, ...]


def make_view(shot: Shot, frame: int, zoom: int = 1) -> View:
    """The view of a frame; `zoom` splits every pixel into zoom x zoom, for references."""
    camera = shot.camera(frame)
    if zoom != 1:
        shift = (zoom - 1) / 2
        split = np.array([[zoom, 0, shift], [0, zoom, shift], [0, 0, 1]])
        camera = Camera(split @ camera.intrinsics, camera.rotation, camera.position)
    projection = camera.intrinsics @ camera.rotation
    plane = np.column_stack([shot.wall.axes.T, shot.wall.origin - camera.position])
    return View(
        width=shot.config.width * zoom,
        height=shot.config.height * zoom,
        camera=camera,
        light=shot.light(frame),
        wall=shot.wall,
        wall_to_image=projection @ plane,
        solids=tuple(_place(thing, camera, frame) for thing in (*shot.objects, *shot.occluders)),
    )


def _place(thing: SceneObject, camera: Camera, frame: int) -> Solid:
    rotation = thing.rotation(frame)
    to_world = rotation * thing.scale
    to_own = rotation.T / thing.scale[:, None]
    offset = thing.position(frame) - camera.position
    projection = camera.intrinsics @ camera.rotation
    return Solid(
        thing=thing,
        origin=-to_own @ offset,
        from_image=to_own @ np.linalg.inv(projection),
        to_image=np.column_stack([projection @ to_world, projection @ offset]),
        normals_to_world=rotation / thing.scale,
    )
