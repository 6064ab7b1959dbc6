"""Shapes: where a ray meets each class of solid, in closed form (the torus by sphere tracing), and its normals.

Every shape lies around the origin of its own frame. Rays are given by one origin (3,) and directions
(3, N), which need not have unit length; depths are multiples of a ray's direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int8]
Hits = tuple[Floats, Faces]

_TINY = 1e-12
_TORUS_RADIUS, _TUBE_RADIUS = 0.7, 0.3
_CAPSULE_RADIUS, _CAPSULE_HALF = 0.5, 0.5
_CYLINDER_RADIUS = 0.7
_CONE_RADIUS = 0.8
_ARM = 0.3


@dataclass(frozen=True)
class Shape:
    """One class of solid.

    `trace(origin, directions)` gives depths (N,) float64, inf where the ray misses, and the face (N,) int8
    that is met; `normals(points (3, M), faces (M,))` gives outward normals (3, M), not of unit length.
    `extent`: half sizes of the box around it; `reach`: radius of the sphere around it.
    """

    trace: Callable[[Floats, Floats], Hits]
    normals: Callable[[Floats, Faces], Floats]
    extent: tuple[float, float, float]
    reach: float


def _polyhedron(planes: Floats, offsets: Floats, extent: tuple[float, float, float], reach: float) -> Shape:
    """The convex solid of all points p with planes (K, 3) @ p <= offsets (K,)."""

    def trace(origin: Floats, directions: Floats) -> Hits:
        enter, leave, face = _convex_interval(planes, offsets, origin, directions)
        return np.where((enter < leave) & (enter > 0), enter, np.inf), face

    return Shape(trace, lambda points, faces: planes.T[:, faces], extent, reach)


def _convex_interval(
    planes: Floats, offsets: Floats, origin: Floats, directions: Floats
) -> tuple[Floats, Floats, Faces]:
    """Depths at which rays enter and leave all half spaces, and the plane of entry."""
    enter = np.full(directions.shape[1], -np.inf)
    leave = np.full(directions.shape[1], np.inf)
    face = np.zeros(directions.shape[1], np.int8)
    for number, (plane, offset) in enumerate(zip(planes, offsets, strict=True)):
        slope = dot(plane, directions)
        slope[np.abs(slope) < _TINY] = _TINY
        depth = (offset - plane @ origin) / slope
        entering = slope < 0
        later = entering & (depth > enter)
        np.copyto(enter, depth, where=later)
        face[later] = number
        np.minimum(leave, depth, out=leave, where=~entering)
    return enter, leave, face


def _trace_sphere(origin: Floats, directions: Floats) -> Hits:
    near, _ = _quadratic_roots(
        dot(directions, directions), dot(origin, directions), np.full(directions.shape[1], origin @ origin - 1)
    )
    return np.where(near > 0, near, np.inf), np.zeros(near.shape, np.int8)


def _trace_cylinder(origin: Floats, directions: Floats) -> Hits:
    """Face 0 is the side, 1 the top, 2 the bottom."""
    near, far = _side_roots(origin, directions, _CYLINDER_RADIUS)
    enter, leave, cap = _convex_interval(_CAPS, np.ones(2), origin, directions)
    face = np.where(near >= enter, 0, cap + 1).astype(np.int8)
    enter, leave = np.maximum(near, enter), np.minimum(far, leave)
    return np.where((enter < leave) & (enter > 0), enter, np.inf), face


def _normals_cylinder(points: Floats, faces: Faces) -> Floats:
    normals = np.zeros_like(points)
    side = faces == 0
    normals[0], normals[2] = points[0] * side, points[2] * side
    normals[1] = (faces == 1) * 1.0 - (faces == 2)
    return normals


def _trace_cone(origin: Floats, directions: Floats) -> Hits:
    """Apex at y = 1, base at y = -1. Face 0 is the side, 1 the base."""
    slope = (_CONE_RADIUS / 2) ** 2
    x, y, z = directions
    height = 1 - origin[1]  # below the apex
    roots = _quadratic_roots(
        x * x + z * z - slope * y * y,
        origin[0] * x + origin[2] * z + slope * height * y,
        np.full(x.shape, origin[0] ** 2 + origin[2] ** 2 - slope * height**2),
    )
    depth = np.full(x.shape, np.inf)
    for root in roots:
        level = origin[1] + root * y
        np.minimum(depth, root, out=depth, where=(root > 0) & (np.abs(level) <= 1))
    base = (-1 - origin[1]) / np.where(np.abs(y) < _TINY, _TINY, y)
    inside = (origin[0] + base * x) ** 2 + (origin[2] + base * z) ** 2 <= _CONE_RADIUS**2
    first = inside & (base > 0) & (base < depth)
    return np.where(first, base, depth), first.astype(np.int8)


def _normals_cone(points: Floats, faces: Faces) -> Floats:
    side = faces == 0
    slope = (_CONE_RADIUS / 2) ** 2
    return np.stack([points[0] * side, np.where(side, slope * (1 - points[1]), -1.0), points[2] * side])


def _trace_capsule(origin: Floats, directions: Floats) -> Hits:
    near, _ = _side_roots(origin, directions, _CAPSULE_RADIUS)
    level = origin[1] + near * directions[1]
    depth = np.where((near > 0) & (np.abs(level) <= _CAPSULE_HALF), near, np.inf)
    squared = dot(directions, directions)
    for end in (-_CAPSULE_HALF, _CAPSULE_HALF):
        start = origin - np.array([0, end, 0])
        near, _ = _quadratic_roots(
            squared, dot(start, directions), np.full(squared.shape, start @ start - _CAPSULE_RADIUS**2)
        )
        np.minimum(depth, near, out=depth, where=near > 0)
    return depth, np.zeros(depth.shape, np.int8)


def _normals_capsule(points: Floats, faces: Faces) -> Floats:
    normals = points.copy()
    normals[1] -= np.clip(points[1], -_CAPSULE_HALF, _CAPSULE_HALF)
    return normals


def _trace_torus(origin: Floats, directions: Floats) -> Hits:
    """Sphere tracing between the faces of a flat cylinder around the torus, finished with Newton steps."""
    length = np.sqrt(dot(directions, directions))
    unit = directions / length
    near, far = _side_roots(origin, unit, _TORUS_RADIUS + _TUBE_RADIUS)
    enter, leave, _ = _convex_interval(_CAPS, np.full(2, _TUBE_RADIUS), origin, unit)
    enter, leave = np.maximum(np.maximum(near, enter), 0), np.minimum(far, leave)
    depth = np.full(length.shape, np.inf)
    active = np.asarray(np.flatnonzero(enter < leave))
    here = enter[active]
    # the ring's squared radius is quadratic along a ray: square t² + 2 half t + constant
    rise, end = unit[1, active], leave[active]
    square, half = 1 - rise * rise, origin[0] * unit[0, active] + origin[2] * unit[2, active]
    for _ in range(_TORUS_ROUNDS):
        here, touching = _approach_torus(origin, rise, square, half, here)
        depth[active[touching]] = here[touching]
        going = np.flatnonzero(~touching & (here < end))
        if not going.size:
            break
        active, here, end = active[going], here[going], end[going]
        rise, square, half = rise[going], square[going], half[going]
    met = np.flatnonzero(np.isfinite(depth))
    depth[met] = _polish_torus(origin, unit[:, met], depth[met])
    return depth / length, np.zeros(depth.shape, np.int8)


def _approach_torus(
    origin: Floats, rise: Floats, square: Floats, half: Floats, here: Floats
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """A few steps along each ray, none past the surface; returns where they end and whether they touch it.

    A step is the distance to the torus or, where it is longer, the root of a parabola that the distance
    along the ray stays above: next to the torus (ring radius above 0.25) its second derivative exceeds
    -(0.7 - ring) / (ring * distance to the tube's centre) > -4. Grazing rays take 4 steps instead of 40.
    """
    constant = origin[0] ** 2 + origin[2] ** 2
    for _ in range(_TORUS_STEPS):
        ring = np.sqrt(np.maximum((square * here + 2 * half) * here + constant, _TINY))
        level = origin[1] + rise * here
        across = ring - _TORUS_RADIUS
        centre = np.sqrt(across * across + level * level)
        distance = centre - _TUBE_RADIUS
        slope = (across * (square * here + half) / ring + level * rise) / np.maximum(centre, _TINY)
        parabola = (slope + np.sqrt(np.maximum(slope * slope + 8 * distance, 0))) / 4
        step = np.maximum(distance, np.where((ring > 0.35) & (parabola < 0.1), parabola, 0))
        touching = distance < _TORUS_TOLERANCE
        here = np.where(touching, here, here + step)
    return here, touching


def _polish_torus(origin: Floats, rays: Floats, depth: Floats) -> Floats:
    """Two Newton steps, left out where the ray only grazes the surface."""
    for _ in range(2):
        points = origin[:, None] + depth * rays
        normals = _normals_torus(points, np.zeros(depth.shape, np.int8))
        slope = dot(normals, rays) / np.sqrt(dot(normals, normals))
        depth = depth - np.where(slope < -0.05, _torus_distance(points) / np.minimum(slope, -0.05), 0)
    return depth


def _torus_distance(points: Floats) -> Floats:
    ring = np.sqrt(points[0] ** 2 + points[2] ** 2) - _TORUS_RADIUS
    return np.asarray(np.sqrt(ring**2 + points[1] ** 2) - _TUBE_RADIUS)


def _normals_torus(points: Floats, faces: Faces) -> Floats:
    ring = np.sqrt(points[0] ** 2 + points[2] ** 2)
    share = 1 - _TORUS_RADIUS / np.maximum(ring, _TINY)
    return np.stack([points[0] * share, points[1], points[2] * share])


def _trace_cross(origin: Floats, directions: Floats) -> Hits:
    """Three square bars through the origin, one along each axis."""
    depth = np.full(directions.shape[1], np.inf)
    face = np.zeros(directions.shape[1], np.int8)
    for axis in range(3):
        sizes = np.where(np.arange(3) == axis, 1.0, _ARM)
        enter, leave, side = _convex_interval(_AXES, np.concatenate([sizes, sizes]), origin, directions)
        first = (enter < leave) & (enter > 0) & (enter < depth)
        np.copyto(depth, enter, where=first)
        np.copyto(face, side, where=first)
    return depth, face


def _side_roots(origin: Floats, directions: Floats, radius: float) -> tuple[Floats, Floats]:
    """Where rays meet the endless cylinder around the y axis."""
    x, _, z = directions
    return _quadratic_roots(
        x * x + z * z,
        origin[0] * x + origin[2] * z,
        np.full(x.shape, origin[0] ** 2 + origin[2] ** 2 - radius**2),
    )


def _quadratic_roots(square: Floats, half: Floats, constant: Floats) -> tuple[Floats, Floats]:
    """Both roots of square t² + 2 half t + constant = 0, smaller first; inf and -inf where there is none."""
    square = np.where(np.abs(square) < _TINY, _TINY, square)
    inside = half * half - square * constant
    root = np.sqrt(np.maximum(inside, 0))
    first, second = (-half - root) / square, (-half + root) / square
    missed = inside < 0
    return (
        np.where(missed, np.inf, np.minimum(first, second)),
        np.where(missed, -np.inf, np.maximum(first, second)),
    )


def dot(first: Floats, second: Floats) -> Floats:
    """Inner products of the columns of (3, N) arrays, either of which may be one vector (3,).

    Not `@`: BLAS would start its threads for so little, in every process of a pool, and sum in its own order.
    """
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])


def turn(matrix: Floats, vectors: Floats) -> Floats:
    """`matrix` (3, 3) times the columns of `vectors` (3, N)."""
    return np.stack([dot(row, vectors) for row in matrix])


def _unit_rows(rows: list[tuple[float, float, float]]) -> Floats:
    planes = np.array(rows, np.float64)
    return np.asarray(planes / np.linalg.norm(planes, axis=1, keepdims=True))


def _prism() -> Shape:
    """Three-sided: circumradius 0.9 in the xz plane, ends at y = ±0.8."""
    angles = np.deg2rad([90, 210, 330])
    sides = [(float(np.cos(angle)), 0.0, float(np.sin(angle))) for angle in angles]
    planes = _unit_rows([*sides, (0, 1, 0), (0, -1, 0)])
    return _polyhedron(planes, np.array([0.45] * 3 + [0.8] * 2), (0.78, 0.8, 0.9), 1.21)


def _octahedron() -> Shape:
    planes = _unit_rows([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return _polyhedron(planes, np.full(8, 1 / np.sqrt(3)), (1, 1, 1), 1)


def _pyramid() -> Shape:
    """Square base of half side 0.8 at y = -0.7, apex at y = 0.8."""
    rise = 0.8 / 1.5
    sides = _unit_rows([(1, rise, 0), (-1, rise, 0), (0, rise, 1), (0, rise, -1), (0, -1, 0)])
    return _polyhedron(sides, np.concatenate([sides[:4, 1] * 0.8, [0.7]]), (0.8, 0.8, 0.8), 1.33)


_CAPS = np.array([[0, 1, 0], [0, -1, 0]], np.float64)
_AXES = np.concatenate([np.eye(3), -np.eye(3)])
_TORUS_ROUNDS, _TORUS_STEPS = 16, 4  # rays that are done leave after each round
_TORUS_TOLERANCE = 1e-4  # of a torus of outer radius 1, here at most 55 px: below 0.01 px

SHAPES: dict[str, Shape] = {
    "box": _polyhedron(_AXES, np.array([0.8, 0.6, 0.7] * 2), (0.8, 0.6, 0.7), 1.23),
    "capsule": Shape(_trace_capsule, _normals_capsule, (0.5, 1, 0.5), 1),
    "cone": Shape(_trace_cone, _normals_cone, (_CONE_RADIUS, 1, _CONE_RADIUS), 1.29),
    "cross": Shape(_trace_cross, lambda points, faces: _AXES.T[:, faces], (1, 1, 1), 1.09),
    "cylinder": Shape(_trace_cylinder, _normals_cylinder, (_CYLINDER_RADIUS, 1, _CYLINDER_RADIUS), 1.23),
    "octahedron": _octahedron(),
    "prism": _prism(),
    "pyramid": _pyramid(),
    "sphere": Shape(_trace_sphere, lambda points, faces: points, (1, 1, 1), 1),
    "torus": Shape(_trace_torus, _normals_torus, (1, _TUBE_RADIUS, 1), 1),
}
