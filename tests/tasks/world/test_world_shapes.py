"""Shapes against an independent inside test walked along each ray, and textures' period."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks.world.config import CLASSES
from tasks.world.shapes import SHAPES
from tasks.world.textures import bake, sample, sample_nearest

Floats = npt.NDArray[np.float64]


def inside(label: str, p: Floats) -> npt.NDArray[np.bool_]:
    """Whether points (3, N) lie in the solid, from its definition."""
    x, y, z = p
    ring = np.hypot(x, z)
    bars = [np.where(np.arange(3) == axis, 1.0, 0.3)[:, None] for axis in range(3)]
    turned = [np.cos(angle) * x + np.sin(angle) * z for angle in np.deg2rad([90, 210, 330])]
    tests = {
        "box": lambda: (np.abs(p) <= np.array([[0.8], [0.6], [0.7]])).all(axis=0),
        "capsule": lambda: ring**2 + np.maximum(np.abs(y) - 0.5, 0) ** 2 <= 0.25,
        "cone": lambda: (np.abs(y) <= 1) & (ring <= 0.8 * (1 - y) / 2),
        "cross": lambda: np.any([(np.abs(p) <= bar).all(axis=0) for bar in bars], axis=0),
        "cylinder": lambda: (np.abs(y) <= 1) & (ring <= 0.7),
        "octahedron": lambda: np.abs(p).sum(axis=0) <= 1,
        "prism": lambda: (np.abs(y) <= 0.8) & (np.max(turned, axis=0) <= 0.45),
        "pyramid": lambda: (y >= -0.7) & (np.maximum(np.abs(x), np.abs(z)) <= 0.8 * (0.8 - y) / 1.5),
        "sphere": lambda: (p * p).sum(axis=0) <= 1,
        "torus": lambda: (ring - 0.7) ** 2 + y**2 <= 0.09,
    }
    return np.asarray(tests[label]())


def rays(label: str, count: int = 400) -> tuple[Floats, Floats]:
    random = np.random.default_rng(CLASSES.index(label))
    origin = random.normal(size=3)
    origin *= 4 / np.linalg.norm(origin)
    return origin, random.uniform(-1.3, 1.3, (3, count)) - origin[:, None]


@pytest.mark.parametrize("label", CLASSES)
def test_rays_meet_the_solid_where_a_walk_along_them_first_enters_it(label: str) -> None:
    origin, directions = rays(label)
    depth, face = SHAPES[label].trace(origin, directions)
    steps = np.linspace(0, 2, 8001)
    for ray in range(directions.shape[1]):
        entered = np.flatnonzero(inside(label, origin[:, None] + steps * directions[:, [ray]]))
        if entered.size:
            assert depth[ray] == pytest.approx(steps[entered[0]], abs=3e-4) or entered.size < 40
        elif np.isfinite(depth[ray]):  # only grazed, between two steps
            close = origin[:, None] + (depth[ray] + np.linspace(-0.02, 0.02, 4001)) * directions[:, [ray]]
            assert inside(label, close * 0.999).any()
    met = np.isfinite(depth)
    assert 50 < np.count_nonzero(met) < 400
    points = origin[:, None] + depth[met] * directions[:, met]
    normals = SHAPES[label].normals(points, face[met])
    normals = normals / np.linalg.norm(normals, axis=0)
    assert not inside(label, points + 2e-3 * normals).any()
    assert inside(label, points - 2e-3 * normals).mean() > 0.97  # a corner may be thinner than the step
    assert (normals * directions[:, met]).sum(axis=0).max() < 1e-6
    extent = np.array(SHAPES[label].extent)[:, None]
    assert (np.abs(points) <= extent + 1e-6).all()
    assert np.linalg.norm(points, axis=0).max() <= SHAPES[label].reach + 1e-6


@pytest.mark.parametrize("label", CLASSES)
def test_rays_along_the_axes_are_no_special_case(label: str) -> None:
    for axis in range(3):
        origin, direction = np.full(3, 0.05), np.zeros((3, 2))
        origin[axis] = -3
        direction[axis] = 1, -1  # towards the solid and away
        depth, _ = SHAPES[label].trace(origin, direction)
        assert not np.isfinite(depth[1])
        assert np.isfinite(depth[0]) != (label == "torus" and axis == 1)


@pytest.mark.parametrize("sizes", [(64, 32), (16, 32, 16)])
def test_textures_are_periodic_bounded_and_seeded(sizes: tuple[int, ...]) -> None:
    for seed in range(6):
        texture = bake(np.random.default_rng(seed), sizes, 6.0, vivid=True)
        assert texture.shape == (*sizes, 3)
        assert 0 <= texture.min() < texture.max() <= 1
        np.testing.assert_array_equal(texture, bake(np.random.default_rng(seed), sizes, 6.0, vivid=True))
        seam = np.abs(texture[0] - texture[-1]).mean()
        assert seam < 3 * np.abs(np.diff(texture, axis=0)).mean()


def test_sampling_is_linear_between_texels_and_wraps() -> None:
    texture = np.random.default_rng(0).random((8, 4, 16, 3)).astype(np.float32)
    points = np.array([[7.25], [-0.5], [15.0]])
    expected = sum(
        weight * texture[a, b, 15]
        for a, first in ((7, 0.75), (0, 0.25))
        for b, weight in ((3, 0.5 * first), (0, 0.5 * first))
    )
    np.testing.assert_allclose(sample(texture, points)[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(sample_nearest(texture, np.array([[7.9], [-1.2], [3.1]]))[0], texture[0, 3, 3])


def test_the_torus_agrees_with_the_roots_of_its_quartic() -> None:
    origin, directions = rays("torus", 600)
    depth, _ = SHAPES["torus"].trace(origin, directions)
    agreeing = 0
    for ray, found in zip(directions.T, depth, strict=True):
        x, y, z = (np.polynomial.Polynomial([start, step]) for start, step in zip(origin, ray, strict=True))
        roots = ((x * x + y * y + z * z + 0.7**2 - 0.3**2) ** 2 - 4 * 0.7**2 * (x * x + z * z)).roots()
        real = roots[np.abs(roots.imag) < 1e-7].real
        agreeing += np.isclose(found, real.min() if real.size else np.inf, atol=1e-4)
    assert agreeing >= 595  # the others graze the surface within the tolerance of 1e-4
