"""Batched Lucas-Kanade against OpenCV's, against closed form, and against itself in other batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tasks.track import lucas_kanade
from tasks.track.camera import spread_corners
from tasks.track.estimators.torch import TorchEstimator, make_estimator
from tasks.track.lk import WINDOW_PX
from tasks.track.lucas_kanade import take_steps
from tasks.track.motion import PointMotion, PointQuery
from tasks.track.pyramids import build_pyramids
from tasks.world.config import WorldConfig
from tasks.world.render import render_video
from tests.tasks.track.conftest import shifted, textured

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)
every_device = pytest.mark.parametrize("device", ["cpu", CUDA])


@every_device
@pytest.mark.parametrize("size", [(95, 131), (240, 427), (24, 200), (12, 12), (5, 40)])
def test_pyramids_and_slopes_are_those_of_opencv(device: str, size: tuple[int, int]) -> None:
    grey = noise(1, size)
    pyramids = build_pyramids(torch.from_numpy(np.stack([grey, noise(2, size)])).to(device))
    last, expected = cv2.buildOpticalFlowPyramid(grey, (WINDOW_PX, WINDOW_PX), 3)
    assert len(pyramids.levels) == last + 1
    for number, level in enumerate(pyramids.levels):
        planes = pyramids.planes[0, :, level.offset : level.offset + level.area].cpu().numpy().reshape(3, -1, level.row)
        image, across, down = planes[:, WINDOW_PX:-WINDOW_PX, WINDOW_PX:-WINDOW_PX]
        assert np.array_equal(image, expected[2 * number])
        assert np.array_equal(np.stack([across, down], -1), expected[2 * number + 1])
        assert np.array_equal(planes[0], np.pad(image, WINDOW_PX, mode="reflect"))


@every_device
@pytest.mark.parametrize("scene", ["Dimetrodon", "Grove2", "RubberWhale"])
def test_real_pictures_move_as_opencv_sees_it(device: str, scene: str, shared_data: Path) -> None:
    folder = shared_data / "flow" / scene
    previous, following = (
        np.asarray(cv2.imread(str(folder / f"frame{number}.png"), cv2.IMREAD_GRAYSCALE)) for number in (10, 11)
    )
    assert_agrees(device, [(previous, following, spread_corners(previous))])
    assert_agrees(device, [(previous, following, anywhere(previous.shape, 1000))])


@every_device
def test_the_generated_world_moves_as_opencv_sees_it(device: str) -> None:
    config = WorldConfig(width=200, height=150, num_frames=4, cut_probability=0.0)
    pairs = []
    for video in range(2):
        frames = [
            np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
            for frame in render_video(config, 7, video, truth=False)
        ]
        pairs += [
            (*pair, np.concatenate([spread_corners(pair[0]), anywhere((150, 200), 300)])) for pair in pairwise(frames)
        ]
    assert_agrees(device, pairs)


@every_device
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.25, -0.5), (1.3, 2.7), (-6.4, 4.2), (0.0, 11.5)])
def test_a_known_translation_is_found_to_a_fraction_of_a_pixel(device: str, x: float, y: float) -> None:
    motion = follow(device, waves(0, 0), waves(x, y), grid(24, (160, 200)))
    assert motion.points.dtype == motion.error_px.dtype == np.float32
    assert motion.found.all()
    distance = np.linalg.norm(motion.points - grid(24, (160, 200)) - (x, y), axis=1)
    assert np.median(distance) < 0.05  # bilinear reading of a curved picture errs by as much
    assert distance.max() < 0.2
    assert motion.error_px.max() < 0.1


@every_device
def test_many_queries_are_answered_as_one_by_one_in_any_order(device: str) -> None:
    estimator = make_estimator(device)
    frames = [estimator.prepare(shifted(textured(3, 200, 240), -2.3 * t, t - 20, 1, (180, 140))) for t in range(6)]
    queries = [
        PointQuery(*pair, anywhere((140, 180), 40 + 30 * number)) for number, pair in enumerate(pairwise(frames))
    ]
    together = estimator.follow(queries)
    assert sum(int(motion.found.sum()) for motion in together) > 200
    for query, motion in zip(queries, together, strict=True):
        assert_same(estimator.follow([query])[0], motion)
    for motion, other in zip(together, estimator.follow(queries[::-1])[::-1], strict=True):
        assert_same(motion, other)


@every_device
def test_frames_of_different_sizes_go_together(device: str) -> None:
    estimator = make_estimator(device)
    queries = []
    for number, (width, height) in enumerate([(120, 90), (37, 200), (120, 90), (16, 14), (90, 120)]):
        texture = textured(number, 260, 260)
        pair = [estimator.prepare(shifted(texture, -20 + x, -20, 1, (width, height))) for x in (0, 1.5)]
        queries.append(PointQuery(pair[0], pair[1], anywhere((height, width), 50)))
    for query, motion in zip(queries, estimator.follow(queries), strict=True):
        assert_same(estimator.follow([query])[0], motion)
        assert motion.found.any()


@every_device
@pytest.mark.parametrize("size", [7, 64])
def test_chunks_change_nothing(device: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = anywhere((160, 200), 65)
    whole = follow(device, waves(0, 0), waves(2.2, 1.1), points)
    monkeypatch.setattr(lucas_kanade, "_CHUNK_POINTS", {device: size})
    assert_same(follow(device, waves(0, 0), waves(2.2, 1.1), points), whole)


@every_device
def test_equal_queries_have_equal_answers(device: str) -> None:
    previous, following = noise(5, (120, 160)), noise(6, (120, 160))
    points = anywhere((120, 160), 500)
    one, other = (follow(device, previous, following, points) for _ in range(2))
    for name in ("points", "error_px", "found"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


@every_device
def test_no_queries_and_no_points_are_answered(device: str) -> None:
    estimator = make_estimator(device)
    frame = estimator.prepare(waves(0, 0))
    assert estimator.follow([]) == []
    none, some = np.zeros((0, 2), np.float32), grid(24, (160, 200))
    empty = estimator.follow([PointQuery(frame, frame, none)])[0]
    assert empty.points.shape == (0, 2)
    assert empty.error_px.shape == empty.found.shape == (0,)
    counts = [
        len(m.found) for m in estimator.follow([PointQuery(frame, frame, points) for points in (none, some, none)])
    ]
    assert counts == [0, len(some), 0]


@every_device
def test_what_is_no_place_in_the_frame_is_not_found_and_disturbs_nothing(device: str) -> None:
    wrong = np.array(
        [[np.nan, 50], [50, np.nan], [np.inf, 50], [50, -np.inf], [-3e38, 3e38], [1e6, 50], [-40, 50], [50, 400]],
        np.float32,
    )
    right = grid(24, (160, 200))
    alone = follow(device, waves(0, 0), waves(1.5, 0.5), right)
    motion = follow(device, waves(0, 0), waves(1.5, 0.5), np.concatenate([wrong, right]))
    assert not motion.found[: len(wrong)].any()
    assert np.isinf(motion.error_px[: len(wrong)]).all()
    assert np.array_equal(motion.points[: len(wrong)], wrong, equal_nan=True)
    assert np.allclose(motion.points[len(wrong) :], alone.points, atol=1e-3)


@every_device
def test_points_at_the_edges_are_followed_and_those_that_leave_are_not_found(device: str) -> None:
    corners = np.array([[0, 0], [199, 0], [0, 159], [199, 159], [0, 80], [100, 0]], np.float32)
    still = follow(device, waves(0, 0), waves(0, 0), corners)
    assert still.found.all()
    assert np.abs(still.points - corners).max() < 1e-3
    away = follow(device, waves(0, 0), waves(4, 0), np.array([[198, 80], [100, 80]], np.float32))
    assert away.found.tolist() == [False, True]


@every_device
def test_without_texture_nothing_is_found(device: str) -> None:
    flat = np.full((100, 120), 90, np.uint8)
    assert not follow(device, flat, flat, grid(10, flat.shape)).found.any()
    stripes = np.repeat(np.arange(100, dtype=np.uint8)[:, None] % 16 * 16, 120, axis=1)
    assert not follow(device, stripes, stripes, grid(30, stripes.shape)).found.any()


@every_device
def test_unrelated_pictures_do_not_find_back(device: str) -> None:
    motion = follow(device, noise(1, (120, 160)), noise(2, (120, 160)), anywhere((120, 160), 400))
    assert (motion.error_px > 1).mean() > 0.5


@every_device
@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 3), (9, 9), (12, 300), (23, 23)])
def test_tiny_frames_are_followed_where_opencv_does(device: str, size: tuple[int, int]) -> None:
    previous = cv2.GaussianBlur(noise(3, size), (0, 0), 1.5)
    following = np.roll(previous, 1, axis=1)
    points = anywhere(size, 200)
    motion = follow(device, previous, following, points)
    expected = by_opencv(previous, following, points)
    assert (motion.found != expected.found).mean() < 0.05


def test_the_frame_may_be_a_view_and_is_copied() -> None:
    estimator = make_estimator()
    buffer = np.zeros((160, 400), np.uint8)
    view = buffer[:, ::2]
    view[:] = waves(0, 0)
    prepared = estimator.prepare(view)
    view[:] = 0
    moved = estimator.follow([PointQuery(prepared, estimator.prepare(waves(1, 0)), grid(24, (160, 200)))])[0]
    assert moved.found.all()


@every_device
def test_the_steps_compile_to_one_graph_for_any_number_of_points(device: str) -> None:
    steps = torch.compile(take_steps, dynamic=True, fullgraph=True, backend="aot_eager")
    previous, following, points = waves(0, 0), waves(3.2, -1.4), anywhere((160, 200), 300)
    plain = follow(device, previous, following, points)
    traced = follow(device, previous, following, points, TorchEstimator(torch.device(device), steps))
    assert (plain.found == traced.found).mean() > 0.99
    both = plain.found & traced.found
    assert np.percentile(np.abs(plain.points - traced.points)[both], 99) < 1e-2


def follow(
    device: str, previous: np.ndarray, following: np.ndarray, points: np.ndarray, made: TorchEstimator | None = None
) -> PointMotion:
    estimator = made or make_estimator(device)
    return estimator.follow([PointQuery(estimator.prepare(previous), estimator.prepare(following), points)])[0]


def by_opencv(previous: np.ndarray, following: np.ndarray, points: np.ndarray) -> PointMotion:
    """OpenCV's places; error_px is 0."""
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        previous,
        following,
        points.reshape(-1, 1, 2),
        None,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=3,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
        minEigThreshold=1e-4,
    )
    moved = moved.reshape(-1, 2)
    last = np.array(previous.shape[::-1]) - 1
    found = (status.ravel() == 1) & ((moved >= 0) & (moved <= last)).all(axis=1)
    return PointMotion(moved, np.zeros(len(points), np.float32), found)


def assert_agrees(device: str, pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """All pairs in one call against OpenCV, forward and on the way back."""
    estimator = make_estimator(device)
    queries = [PointQuery(estimator.prepare(one), estimator.prepare(two), points) for one, two, points in pairs]
    distances, only_one, in_all, errors = [], 0, 0, []
    for (previous, following, points), motion in zip(pairs, estimator.follow(queries), strict=True):
        expected = by_opencv(previous, following, points)
        both = motion.found & expected.found
        distances.append(np.linalg.norm(motion.points - expected.points, axis=1)[both])
        back = by_opencv(following, previous, expected.points)
        errors.append(np.abs(np.linalg.norm(back.points - points, axis=1) - motion.error_px)[both & back.found])
        only_one += int((motion.found != expected.found).sum())
        in_all += len(points)
    for difference in (np.concatenate(distances), np.concatenate(errors)):
        assert len(difference) > 0.8 * in_all
        assert np.median(difference) <= 0.05
        assert np.percentile(difference, 95) <= 0.5
    assert only_one <= 0.01 * in_all


def assert_same(one: PointMotion, other: PointMotion) -> None:
    """To rounding: in another batch sums may run in another order, on a GPU and in a CPU's vector units."""
    assert (one.found == other.found).mean() > 0.99
    both = one.found & other.found
    assert np.percentile(np.abs(one.points - other.points)[both], 99) < 1e-2


def waves(x: float, y: float) -> np.ndarray:
    """A picture in closed form, moved right by x and down by y px: (160, 200) uint8."""
    rows, columns = np.mgrid[:160, :200].astype(np.float64)
    right, down = columns - x, rows - y
    value = np.sin(0.21 * right + 0.05 * down) + np.sin(0.24 * down - 0.07 * right) + np.sin(0.11 * (right + down))
    grey: np.ndarray = np.rint(127.5 + 40 * value).astype(np.uint8)
    return grey


def noise(seed: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def grid(margin: int, size: tuple[int, ...]) -> np.ndarray:
    """Points every 12 px: (N, 2) float32."""
    height, width = size
    columns, rows = np.meshgrid(np.arange(margin, width - margin, 12), np.arange(margin, height - margin, 12))
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def anywhere(size: tuple[int, ...], count: int) -> np.ndarray:
    """Points at fractional places, some of them up to 4 px beyond the frame: (count, 2) float32."""
    height, width = size
    return np.random.default_rng(9).uniform((-4, -4), (width + 4, height + 4), (count, 2)).astype(np.float32)
