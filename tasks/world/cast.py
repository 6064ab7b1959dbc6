"""Casting: one ray a pixel finds solid, depth and face; pixels that an edge crosses get 16 rays for their colour.

Image coordinates put pixel centres at whole numbers, as OpenCV does. Below, an owner is 0 for the wall
and 1, 2, ... for the view's solids in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.world.shapes import Faces, Floats, dot, turn
from tasks.world.textures import sample, sample_nearest
from tasks.world.view import Coordinates, Solid, View

Mask = npt.NDArray[np.bool_]
Colours = npt.NDArray[np.float32]

_SAMPLES = 4  # rays each way in a pixel that an edge crosses
_DEPTH_JUMP = 0.01  # of the depth, between neighbours: an edge within one solid
_BEYOND = 2  # frame sizes from the origin: as far as silhouettes outside the frame are counted


@dataclass(frozen=True)
class Hits:
    """What the pixel centres see: `owner` (H, W) int8, `depth` (H, W) m, `face` (H, W) of the solid.

    `outlines`: for each solid the left column, top row and pixels (h, w) of its whole silhouette, which
    may lie outside the frame.
    """

    owner: Faces
    depth: Floats
    face: Faces
    outlines: list[tuple[int, int, Mask]]


@dataclass(frozen=True)
class Shading:
    """`colours` (H * W, 3) in 0..1 and above, one ray a pixel; `wall` the same with every solid taken away;
    `normals` (H * W, 3) unit, in the world."""

    colours: Colours
    wall: Colours
    normals: Colours


def cast_pixels(view: View) -> Hits:
    """One ray through every pixel centre."""
    owner = np.zeros((view.height, view.width), np.int8)
    face = np.zeros_like(owner)
    depth = _wall_depth(view)
    outlines = []
    for row, solid in enumerate(view.solids, start=1):
        left, top, right, bottom = solid.bounds(_BEYOND * max(view.width, view.height))
        u, v = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
        found, side = solid.thing.shape.trace(solid.origin, solid.directions(u.ravel(), v.ravel()))
        found, side = found.reshape(u.shape), side.reshape(u.shape)
        outlines.append((left, top, np.isfinite(found)))
        rows = slice(max(top, 0), max(min(bottom, view.height), 0))
        columns = slice(max(left, 0), max(min(right, view.width), 0))
        part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        nearer = found[part] < depth[rows, columns]
        np.copyto(depth[rows, columns], found[part], where=nearer)
        np.copyto(face[rows, columns], side[part], where=nearer)
        owner[rows, columns][nearer] = row
    return Hits(owner, depth, face, outlines)


def shade_pixels(view: View, hits: Hits) -> Shading:
    """Colours and normals at pixel centres."""
    wall = _shade_wall(view)
    colours = wall.copy()
    normals = np.empty_like(wall)
    normals[:] = view.wall.normal
    owner, depth, face = hits.owner.ravel(), hits.depth.ravel(), hits.face.ravel()
    for row, solid in enumerate(view.solids, start=1):
        pixels = np.flatnonzero(owner == row)
        v, u = np.divmod(pixels, view.width)
        points = solid.local_points(u, v, depth[pixels])
        normals[pixels], light = _light_solid(view, solid, points, face[pixels])
        colours[pixels] = sample(solid.thing.texture, _texels(solid, points)) * light
    return Shading(colours, wall, normals)


def antialias(view: View, hits: Hits, shading: Shading) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) uint8: pixels that an edge crosses become the mean of a grid of rays."""
    colours = shading.colours.copy()
    pixels = np.flatnonzero(_edges(hits))
    rows, columns = np.divmod(pixels, view.width)
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    offset_v, offset_u = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    u, v = columns[:, None] + offset_u, rows[:, None] + offset_v
    depth = np.full(u.shape, np.inf)
    owner, face = np.zeros(u.shape, np.int8), np.zeros(u.shape, np.int8)
    for row, (solid, outline) in enumerate(zip(view.solids, hits.outlines, strict=True), start=1):
        near = np.flatnonzero(_near_outline(outline, rows, columns))
        found, side = solid.thing.shape.trace(solid.origin, solid.directions(u[near].ravel(), v[near].ravel()))
        found, side = found.reshape(near.size, u.shape[1]), side.reshape(near.size, u.shape[1])
        nearer = found < depth[near]
        depth[near] = np.where(nearer, found, depth[near])
        face[near] = np.where(nearer, side, face[near])
        owner[near] = np.where(nearer, np.int8(row), owner[near])
    samples = np.repeat(shading.wall[pixels], u.shape[1], axis=0)
    for row, solid in enumerate(view.solids, start=1):
        chosen = np.flatnonzero(owner.ravel() == row)
        points = solid.local_points(u.ravel()[chosen], v.ravel()[chosen], depth.ravel()[chosen])
        _, light = _light_solid(view, solid, points, face.ravel()[chosen])
        samples[chosen] = sample_nearest(solid.thing.texture, _texels(solid, points)) * light
    colours[pixels] = samples.reshape(*u.shape, 3).mean(axis=1)
    image = np.clip(colours * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(image.reshape(view.height, view.width, 3))


def _edges(hits: Hits) -> Mask:
    """Pixels beside which the solid, its face or the depth changes."""
    code = hits.owner.astype(np.int16) * 16 + hits.face
    edges = np.zeros(code.shape, np.bool_)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        jump = code[first] != code[second]
        jump |= np.abs(hits.depth[first] - hits.depth[second]) > _DEPTH_JUMP * hits.depth[first]
        edges[first] |= jump
        edges[second] |= jump
    return edges


def _near_outline(outline: tuple[int, int, Mask], rows: Coordinates, columns: Coordinates) -> Mask:
    """Which pixels lie on a silhouette or touch it."""
    left, top, silhouette = outline
    wide = np.zeros((silhouette.shape[0] + 4, silhouette.shape[1] + 4), np.bool_)
    for down in (1, 2, 3):
        for right in (1, 2, 3):
            wide[down : down + silhouette.shape[0], right : right + silhouette.shape[1]] |= silhouette
    y = np.clip(rows - top + 2, 0, wide.shape[0] - 1).astype(np.intp)
    x = np.clip(columns - left + 2, 0, wide.shape[1] - 1).astype(np.intp)
    return np.asarray(wide[y, x])


def _wall_depth(view: View) -> Floats:
    """Depth (H, W) of the background: 1 / depth is linear over the image."""
    inverse = np.linalg.inv(view.wall_to_image)[2]
    u, v = np.arange(view.width), np.arange(view.height)[:, None]
    return np.asarray(1 / (inverse[0] * u + inverse[1] * v + inverse[2]))


def _shade_wall(view: View) -> Colours:
    """Background colours (H * W, 3)."""
    to_texels = np.diag([view.wall.texels_per_metre, view.wall.texels_per_metre, 1]) @ np.linalg.inv(view.wall_to_image)
    u, v = np.arange(view.width), np.arange(view.height)[:, None]
    place = [row[0] * u + row[1] * v + row[2] for row in to_texels]
    points = np.stack([(place[0] / place[2]).ravel(), (place[1] / place[2]).ravel()])
    slope = max(0.0, float(view.wall.normal @ view.light.direction))
    light = view.light.ambient + slope * view.light.lamp
    return sample(view.wall.texture, points) * light.astype(np.float32)


def _light_solid(view: View, solid: Solid, points: Floats, face: Faces) -> tuple[Colours, Colours]:
    """Unit world normals (N, 3) at a solid's points (3, N), and the light (N, 3) there: Lambert and ambient."""
    normals = turn(solid.normals_to_world, solid.thing.shape.normals(points, face))
    normals /= np.sqrt(np.maximum(dot(normals, normals), 1e-30))
    slope = np.maximum(dot(view.light.direction, normals), 0).astype(np.float32)[:, None]
    light = slope * view.light.lamp.astype(np.float32) + view.light.ambient.astype(np.float32)
    return normals.T.astype(np.float32), light


def _texels(solid: Solid, points: Floats) -> Floats:
    """Own points (3, N) as places in the texture, unstretched, the solid's origin in its middle."""
    scale = solid.thing.scale * solid.thing.texels_per_metre
    return np.asarray(points * scale[:, None] + solid.thing.texture.shape[0] / 2)
