"""The renderer's truth against slow references: rays solved one by one, projected points, dense supersampling."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tasks.world.cast import cast_pixels, shade_pixels
from tasks.world.config import CLASSES, WorldConfig
from tasks.world.render import Frame, render_frame, render_video
from tasks.world.scene import cut_frame, make_shot
from tasks.world.shapes import SHAPES
from tasks.world.view import make_view

CONFIG = WorldConfig(width=160, height=120, num_frames=12, cut_probability=0.0)
PAIRS = [(seed, index) for seed in (0, 1) for index in (0, 1, 2)]


def frame_pair(seed: int, index: int) -> tuple[Frame, Frame]:
    shot = make_shot(CONFIG, seed, index, 5)
    return render_frame(shot, 5), render_frame(shot, 6)


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_boxes_are_the_tight_boxes_of_the_mask(seed: int, index: int) -> None:
    frame, _ = frame_pair(seed, index)
    for thing in frame.objects:
        rows, columns = np.nonzero(frame.mask == thing.object)
        if rows.size:
            x, y = columns.min(), rows.min()
            assert thing.box == (x, y, columns.max() - x + 1, rows.max() - y + 1)
        else:
            assert thing.box == (0, 0, 0, 0)
        assert thing.visibility <= 1
        assert 0 <= thing.occlusion <= 1
        assert thing.full_box[2] >= thing.box[2]
        assert thing.full_box[3] >= thing.box[3]
    assert set(np.unique(frame.mask)) <= {0, *(thing.object for thing in frame.objects)}


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_silhouettes_equal_those_of_each_solid_drawn_alone(seed: int, index: int) -> None:
    shot = make_shot(CONFIG, seed, index, 5)
    frame = render_frame(shot, 5)
    for row, thing in enumerate(frame.objects):
        alone = render_frame(replace(shot, objects=(shot.objects[row],)), 5)
        inside = np.count_nonzero(alone.mask)
        visible = np.count_nonzero(frame.mask == thing.object)
        assert alone.objects[0].full_box == thing.full_box
        assert thing.occlusion == pytest.approx(1 - visible / inside if inside else 0)
        if thing.full_box == alone.objects[0].box:
            assert thing.visibility == pytest.approx(visible / inside)
        else:
            assert thing.visibility < visible / max(inside, 1) or visible == 0


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_flow_is_where_surface_points_go(seed: int, index: int) -> None:
    """Points are lifted by the depth map, moved with the solid's pose, and projected, one by one."""
    shot = make_shot(CONFIG, seed, index, 5)
    frame = render_frame(shot, 5)
    now, then = shot.camera(5), shot.camera(6)
    things = {thing.number: thing for thing in shot.objects}
    rows, columns = np.mgrid[3:120:9, 3:160:9]
    for y, x in zip(rows.ravel(), columns.ravel(), strict=True):
        seen = np.linalg.solve(now.intrinsics, [x, y, 1]) * frame.depth[y, x]
        world = now.rotation.T @ seen + now.position
        if number := int(frame.mask[y, x]):
            thing = things[number]
            own = thing.rotation(5).T @ (world - thing.position(5))
            world = thing.rotation(6) @ own + thing.position(6)
        image = then.intrinsics @ then.rotation @ (world - then.position)
        np.testing.assert_allclose(frame.flow[y, x], image[:2] / image[2] - [x, y], atol=2e-3)
    assert frame.flow_valid.all()


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_the_next_frame_warped_back_by_flow_looks_the_same(seed: int, index: int) -> None:
    first, second = frame_pair(seed, index)
    rows, columns = np.mgrid[:120, :160]
    x, y = columns + first.flow[..., 0], rows + first.flow[..., 1]
    inside = (x >= 0) & (x < 159) & (y >= 0) & (y < 119)
    low_x, low_y = np.floor(x[inside]).astype(int), np.floor(y[inside]).astype(int)
    share_x, share_y = (x[inside] - low_x)[:, None], (y[inside] - low_y)[:, None]
    mixed = np.zeros((low_x.size, 3))
    same = np.ones(low_x.size, bool)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - right - share_x) * np.abs(1 - down - share_y)
            mixed += weight * second.image[low_y + down, low_x + right]
            same &= second.mask[low_y + down, low_x + right] == first.mask[inside]
    error = np.abs(mixed - first.image[inside]).mean(axis=1)[same]
    unmoved = np.abs(second.image.astype(float) - first.image).mean()
    assert same.mean() > 0.85
    assert np.median(error) < 3
    assert error.mean() < 0.6 * unmoved


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_homography_maps_points_of_the_wall(seed: int, index: int) -> None:
    frame, _ = frame_pair(seed, index)
    shot = make_shot(CONFIG, seed, index, 5)
    random = np.random.default_rng(0)
    places = shot.wall.origin + random.uniform(-2, 2, (50, 2)) @ shot.wall.axes
    images = []
    for time in (5, 6):
        camera = shot.camera(time)
        points = (places - camera.position) @ camera.rotation.T @ camera.intrinsics.T
        images.append(points[:, :2] / points[:, 2:])
    mapped = np.column_stack([images[0], np.ones(50)]) @ frame.homography.T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], images[1], atol=1e-6)
    wall = frame.mask == 0
    rows, columns = np.nonzero(wall)
    mapped = np.column_stack([columns, rows, np.ones(rows.size)]) @ frame.homography.T
    moved = mapped[:, :2] / mapped[:, 2:] - np.column_stack([columns, rows])
    np.testing.assert_allclose(frame.flow[wall], moved, atol=1e-4)


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_normals_are_those_of_the_depth_map(seed: int, index: int) -> None:
    """Finite differences of lifted points, where a pixel and its four neighbours lie on one smooth piece."""
    frame, _ = frame_pair(seed, index)
    np.testing.assert_allclose(np.linalg.norm(frame.normals, axis=-1), 1, atol=1e-5)
    rows, columns = np.mgrid[:120, :160]
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(frame.camera.intrinsics).T
    points = rays * frame.depth[..., None].astype(float)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    found = np.cross(down, across)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    truth = frame.normals[1:-1, 1:-1]
    smooth = np.ones(truth.shape[:2], bool)
    for part in (np.s_[1:-1, 2:], np.s_[1:-1, :-2], np.s_[2:, 1:-1], np.s_[:-2, 1:-1]):
        smooth &= frame.mask[part] == frame.mask[1:-1, 1:-1]
        smooth &= (frame.normals[part] * truth).sum(axis=-1) > 0.97
    cosine = (found * truth).sum(axis=-1)[smooth]
    assert smooth.mean() > 0.6
    assert np.quantile(cosine, 0.02) > 0.98
    assert (rays * frame.normals).sum(axis=-1).max() < 1e-3  # all face the camera


def test_a_lone_sphere_has_the_normals_of_the_formula() -> None:
    config = replace(CONFIG, classes=("sphere",), num_objects=1)
    shot = make_shot(config, 3, 0, 5)
    ball = replace(shot.objects[0], scale=np.full(3, 0.5))
    frame = render_frame(replace(shot, objects=(ball,)), 5)
    camera = frame.camera
    centre = camera.rotation @ (ball.position(5) - camera.position)
    rows, columns = np.nonzero(frame.mask)
    assert rows.size > 500
    rays = np.column_stack([columns, rows, np.ones(rows.size)]) @ np.linalg.inv(camera.intrinsics).T
    square, half = (rays**2).sum(axis=1), rays @ centre
    depth = (half - np.sqrt(half**2 - square * (centre @ centre - 0.25))) / square
    np.testing.assert_allclose(frame.depth[rows, columns], depth, rtol=1e-6)
    np.testing.assert_allclose(frame.normals[rows, columns], (rays * depth[:, None] - centre) / 0.5, atol=1e-5)


@pytest.mark.parametrize(("seed", "index"), PAIRS)
def test_edges_are_antialiased(seed: int, index: int) -> None:
    """Against 8 x 8 rays in every pixel; without antialiasing the error at edges is several times larger."""
    shot = make_shot(CONFIG, seed, index, 5)
    frame = render_frame(shot, 5)
    view = make_view(shot, 5, zoom=8)
    fine = np.clip(shade_pixels(view, cast_pixels(view)).colours * 255, 0, 255)
    reference = fine.reshape(120, 8, 160, 8, 3).mean(axis=(1, 3))
    view = make_view(shot, 5)
    hard = np.clip(shade_pixels(view, cast_pixels(view)).colours.reshape(120, 160, 3) * 255, 0, 255)
    error, hard_error = np.abs(frame.image - reference), np.abs(hard - reference)
    edges = np.zeros((120, 160), bool)
    edges[:, 1:] |= frame.mask[:, 1:] != frame.mask[:, :-1]
    edges[1:] |= frame.mask[1:] != frame.mask[:-1]
    assert error.mean() < 2
    assert error[edges].mean() < 4
    assert error[edges].mean() < 0.4 * hard_error[edges].mean()


def test_flow_and_homography_end_at_cuts_and_at_the_end() -> None:
    config = replace(CONFIG, cut_probability=1.0)
    cut = cut_frame(config, 0, 0)
    assert cut is not None
    frames = list(render_video(config, 0, 0))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.index for frame in frames if frame.is_cut] == [cut]
    for frame in frames:
        leads_on = frame.index not in (cut - 1, 11)
        assert frame.flow_valid.all() == leads_on
        assert np.isfinite(frame.homography).all() == leads_on
        assert leads_on or not frame.flow.any()
    before, after = frames[cut - 1], frames[cut]
    assert {thing.object for thing in before.objects} == {1, 2, 3, 4, 5}
    assert {thing.object for thing in after.objects} == {6, 7, 8, 9, 10}
    jump = np.abs(after.image.astype(float) - before.image).mean()
    step = np.abs(frames[1].image.astype(float) - frames[0].image).mean()
    assert jump > 2 * step


def test_cuts_come_as_often_as_asked() -> None:
    config = replace(CONFIG, cut_probability=0.25, num_frames=64)
    cuts = [cut_frame(config, 7, index) for index in range(400)]
    found = [cut for cut in cuts if cut is not None]
    assert 70 < len(found) < 130
    assert all(16 <= cut < 48 for cut in found)


def test_without_truth_the_rest_is_the_same() -> None:
    shot = make_shot(CONFIG, 0, 1, 5)
    full, bare = render_frame(shot, 5), render_frame(shot, 5, truth=False)
    np.testing.assert_array_equal(full.image, bare.image)
    np.testing.assert_array_equal(full.mask, bare.mask)
    np.testing.assert_array_equal(full.homography, bare.homography)
    assert full.objects == bare.objects
    assert not any(array.size for array in (bare.flow, bare.normals, bare.depth, bare.flow_valid))


def test_motion_is_slow_enough_to_track() -> None:
    """At 320 px: the wall at most 1.6 px a frame, solids' centres 0 to 5 px, turns 1 to 3 degrees, apart in depth."""
    config = WorldConfig(width=320, height=240)
    for index in range(3):
        shot = make_shot(config, 5, index, 0)
        corners = np.array([[0, 0, 1], [319, 0, 1], [0, 239, 1], [319, 239, 1]], float)
        for time in range(0, 60, 6):
            now, then = make_view(shot, time), make_view(shot, time + 1)
            moved = corners @ (then.wall_to_image @ np.linalg.inv(now.wall_to_image)).T
            speed = np.linalg.norm(moved[:, :2] / moved[:, 2:] - corners[:, :2], axis=1)
            assert speed.max() <= 1.6
            for old, new in zip(now.solids, then.solids, strict=True):
                origin = np.zeros((3, 1))
                assert 0.2 < np.linalg.norm(new.project(origin) - old.project(origin)) < 5
        for thing in shot.objects:
            assert 1 <= np.rad2deg(thing.turn) <= 3
        gaps = [
            (far.position(9)[2], near.position(9)[2]) for far, near in zip(shot.objects, shot.objects[1:], strict=False)
        ]
        for (far, near), back, front in zip(gaps, shot.objects, shot.objects[1:], strict=False):
            reach = [thing.scale.max() * thing.shape.reach for thing in (back, front)]
            assert far - near > sum(reach)


def test_colour_says_nothing_about_the_class() -> None:
    """The same solids with another set of classes keep their textures, sizes and paths."""
    shots = [make_shot(replace(CONFIG, classes=classes), 4, 0, 0) for classes in (("sphere",), ("torus", "box"))]
    for one, other in zip(shots[0].objects, shots[1].objects, strict=True):
        np.testing.assert_array_equal(one.texture, other.texture)
        np.testing.assert_array_equal(one.position(3), other.position(3))
        assert one.label != other.label


def test_all_classes_appear_equally_often() -> None:
    small = replace(CONFIG, width=32, height=32)
    labels = [thing.label for index in range(40) for thing in make_shot(small, 0, index, 0).objects]
    counts = [labels.count(label) for label in CLASSES]
    assert set(CLASSES) == set(SHAPES)
    assert min(counts) >= 8
    assert max(counts) <= 36


def test_two_processes_render_equal_bytes() -> None:
    code = """
import hashlib
from tasks.world.config import WorldConfig
from tasks.world.render import render_video
digest = hashlib.sha256()
for frame in render_video(WorldConfig(width=96, height=64, num_frames=3), 9, 4):
    for array in (frame.image, frame.flow, frame.normals):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""
    config = WorldConfig(width=96, height=64, num_frames=3)
    arrays = [array for frame in render_video(config, 9, 4) for array in (frame.image, frame.flow, frame.normals)]
    ours = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert ours == theirs
    other = b"".join(frame.image.tobytes() for frame in render_video(config, 9, 5, truth=False))
    assert other != b"".join(frame.image.tobytes() for frame in render_video(config, 9, 4, truth=False))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 31}, "width is 31"),
        ({"height": 121}, "height is 121; it must be even"),
        ({"num_objects": 13}, "num_objects is 13"),
        ({"cut_probability": 1.5}, "cut_probability is 1.5"),
        ({"classes": ()}, "classes is empty"),
        ({"classes": ("sphere", "egg")}, "class 'egg' is unknown; choose one of box"),
    ],
)
def test_bad_configurations_name_field_and_value(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **fields)  # type: ignore[arg-type]


def test_a_frame_outside_the_video_is_refused() -> None:
    with pytest.raises(ValueError, match="frame is 12"):
        make_shot(CONFIG, 0, 0, 12)
    assert not render_frame(make_shot(replace(CONFIG, num_objects=0), 0, 0, 0), 0).mask.any()
