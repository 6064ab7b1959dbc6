"""Normals computed from depth against exact ones: planes, a sphere, a Kinect's quantisation, edges, the world."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.angles import angles_between
from tasks.evaluate.depth import Intrinsics, normals_of_depth
from tasks.world.config import WorldConfig
from tasks.world.render import render_frame
from tasks.world.scene import make_shot

CAMERA = Intrinsics(120.0, 125.0, 52.3, 44.1)
HEIGHT, WIDTH = 90, 110
KINECT = 580 * 0.075  # focal length (px) times baseline (m): depth times disparity, whose step is an eighth of a px


def _plane(normal: np.ndarray, distance: float, camera: Intrinsics = CAMERA) -> np.ndarray:
    """The depth (H, W) of the plane with this normal (towards the camera) and distance from it."""
    return -distance / (camera.rays(HEIGHT, WIDTH).astype(np.float64) @ normal)


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.floats(0.1, 50))
def test_planes_are_exact_in_any_unit(x: float, y: float, distance: float) -> None:
    normal = np.array([x, y, -1.5]) / np.linalg.norm([x, y, -1.5])
    normals, known = normals_of_depth(_plane(normal, distance), CAMERA, 9)
    assert known[4:-4, 4:-4].all()
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=1), 1, rtol=1e-5)
    assert angles_between(normals[known], normal[None].astype(np.float32)).max() < 0.01


def test_a_sphere() -> None:
    rays = CAMERA.rays(HEIGHT, WIDTH).astype(np.float64)
    centre, radius = np.array([0.1, -0.05, 3.0]), 1.0
    along = rays @ centre
    squared = (rays**2).sum(axis=2)
    root = along**2 - squared * (centre @ centre - radius**2)
    depth = np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) / squared, 0)
    true = (rays * depth[..., None] - centre) / radius
    normals, known = normals_of_depth(depth, CAMERA, 5)
    assert not known[depth == 0].any()
    assert known.sum() > 0.8 * (depth > 0).sum()
    angles = angles_between(normals[known], true[known].astype(np.float32))
    assert np.median(angles) < 0.5
    assert np.quantile(angles, 0.9) < 2, "its rim is seen at a glance"


def test_a_kinect_s_steps_are_smoothed() -> None:
    camera = Intrinsics(580.0, 580.0, 55.0, 45.0)
    normal = np.array([0.4, -0.3, -0.86])
    normal /= np.linalg.norm(normal)
    depth = _plane(normal, 2.5, camera)
    stepped = KINECT / (np.rint(8 * KINECT / depth) / 8)
    millimetres = np.rint(1000 * stepped).astype(np.uint16)
    errors = []
    for window in (5, 15):
        normals, known = normals_of_depth(millimetres, camera, window)
        assert known[8:-8, 8:-8].all()
        errors.append(float(angles_between(normals[known], normal[None].astype(np.float32)).mean()))
    assert errors[1] < 3 < errors[0]


def test_edges_and_holes_have_no_normal_and_spoil_none() -> None:
    normal = np.array([0.0, 0.0, -1.0])
    depth = _plane(normal, 2.0)
    depth[:, 60:] = _plane(normal, 3.0)[:, 60:]
    depth[20:24, 20:24] = 0
    depth[40:60, 10:30] = 0
    normals, known = normals_of_depth(depth, CAMERA, 7)
    assert not known[10:, 58:62].any()
    assert known[30, 8:55].all()
    assert known[30, 65:100].all()
    assert not known[22, 22]
    assert known[22, 26], "most of its window has a depth"
    assert not known[50, 20]
    assert angles_between(normals[known], normal[None].astype(np.float32)).max() < 0.01
    assert not normals[~known].any()


def test_depth_of_the_generated_world_gives_its_normals() -> None:
    config = WorldConfig(width=160, height=120, num_frames=2, num_objects=2)
    frame = render_frame(make_shot(config, 3, 0, 0), 0, True)
    matrix = frame.camera.intrinsics
    camera = Intrinsics(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    normals, known = normals_of_depth(frame.depth, camera, 5)
    assert known.mean() > 0.7
    angles = angles_between(normals[known], frame.normals[known])
    assert np.median(angles) < 0.5
    assert angles.mean() < 3


def test_nothing_known_gives_nothing() -> None:
    normals, known = normals_of_depth(np.zeros((HEIGHT, WIDTH), np.uint16), CAMERA, 9)
    assert not known.any()
    assert not normals.any()


@pytest.mark.parametrize("degrees", [0, 1e-6, 1e-3, 1, 90, 179.999, 180])
def test_angles_are_exact_near_0(degrees: float) -> None:
    turn = np.radians(degrees)
    first, second = np.array([[0.0, 0, 1]]), np.array([[np.sin(turn), 0, np.cos(turn)]])
    found = angles_between(first, second)  # type: ignore[arg-type]
    assert found[0] == pytest.approx(degrees, rel=1e-9, abs=1e-12)
