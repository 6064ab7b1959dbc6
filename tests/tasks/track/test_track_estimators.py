"""One contract for every estimator of the registry."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.track.camera import spread_corners
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS
from tasks.track.motion import PointEstimator, PointMotion, PointQuery, follow_by_flow
from tasks.track.raft_layers import SMALL
from tasks.track.raft_weights import WEIGHTS_VARIABLE
from tasks.variants import load_variant
from tests.tasks.track.conftest import shifted, textured
from tests.tasks.track.formula_weights import formula_weights

SIZE = (200, 160)
ODD_SIZE = (171, 133)
MARGIN = 24
NAMES = sorted(ESTIMATORS.keys() - BOX_TRACKERS.keys())
ACCURATE = [name for name in NAMES if name != "raft"]  # its weights are the user's, and those of the tests know nothing
every_estimator = pytest.mark.parametrize("estimator", NAMES, indirect=True)
every_accurate_estimator = pytest.mark.parametrize("estimator", ACCURATE, indirect=True)
Estimator = PointEstimator[Any]


@pytest.fixture(scope="session")
def opencl_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where OpenCV keeps each program that it built for its OpenCL device: a CPU where the user chose none.

    OpenCV reads these variables when OpenCL is first asked for in a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("opencl")
        patch.setenv("OPENCV_OPENCL_DEVICE", os.environ.get("OPENCV_OPENCL_DEVICE", ":CPU:0"))
        patch.setenv("OPENCV_OPENCL_CACHE_DIR", str(folder))
        patch.setenv("POCL_CACHE_DIR", str(tmp_path_factory.mktemp("pocl")))
        cv2.ocl.setUseOpenCL(True)
        if not cv2.ocl.useOpenCL():
            pytest.skip("no OpenCL device; apt-get install pocl-opencl-icd")
        yield folder


@pytest.fixture(scope="session")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raft") / "small.safetensors"
    save_file(formula_weights(SMALL), path)
    return path


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Threads that share a core wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def estimator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Estimator:
    name: str = request.param
    if name == "raft":
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(request.getfixturevalue("raft_weights")))
    if name.startswith("opencl"):
        request.getfixturevalue("opencl_programs")
    made: Estimator = load_variant(ESTIMATORS, name, "estimator").make_estimator(device="cpu")
    return made


def grey_frame(x: float = 0, y: float = 0, scale: float = 1.0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A texture moved by (x, y) and scaled about (-30, -30): (H, W) uint8."""
    return shifted(textured(5, 260, 320), x - 30, y - 30, scale, size)


def inner_corners(grey: np.ndarray) -> np.ndarray:
    corners = spread_corners(grey)
    inside = (corners > MARGIN).all(axis=1) & (corners < np.array(grey.shape[::-1]) - MARGIN).all(axis=1)
    return corners[inside]


def follow(estimator: Estimator, *queries: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[PointMotion]:
    return estimator.follow(
        [PointQuery(estimator.prepare(a), estimator.prepare(b), points) for a, b, points in queries]
    )


def assert_is_whole(motion: PointMotion, points: np.ndarray, size: tuple[int, int]) -> None:
    """What holds for every motion, right or wrong."""
    assert motion.points.dtype == motion.error_px.dtype == np.float32
    assert motion.found.dtype == np.bool_
    assert motion.points.shape == points.shape
    assert motion.error_px.shape == motion.found.shape == points.shape[:1]
    assert np.array_equal(motion.found, np.isfinite(motion.error_px))
    assert (motion.error_px >= 0).all()
    assert np.array_equal(motion.points[~motion.found], points[~motion.found])
    ended = motion.points[motion.found]
    assert ((ended >= 0) & (ended <= np.array(size) - 1)).all()


def assert_equal_motions(motions: Sequence[PointMotion], others: Sequence[PointMotion]) -> None:
    """Equal but for rounding: a batch may sum in another order."""
    for one, other in zip(motions, others, strict=True):
        assert np.array_equal(one.found, other.found)
        np.testing.assert_allclose(one.points, other.points, atol=2e-3, rtol=0)
        np.testing.assert_allclose(one.error_px, other.error_px, atol=4e-3, rtol=0)


@every_accurate_estimator
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (3.0, -2.0), (0.4, 1.3), (-6.0, 5.0)])
def test_points_follow_a_known_translation(estimator: Estimator, x: float, y: float) -> None:
    previous = grey_frame()
    points = inner_corners(previous)
    [motion] = follow(estimator, (previous, grey_frame(x, y), points))
    assert_is_whole(motion, points, SIZE)
    assert motion.found.mean() > 0.95
    distance = np.linalg.norm(motion.points - points - (x, y), axis=1)[motion.found]
    assert np.median(distance) < 0.1
    assert np.percentile(distance, 95) < 0.5
    assert np.median(motion.error_px) < 0.1


@every_accurate_estimator
@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_points_follow_a_known_scale(estimator: Estimator, scale: float) -> None:
    previous = grey_frame()
    points = inner_corners(previous)
    [motion] = follow(estimator, (previous, grey_frame(scale=scale), points))
    expected = scale * (points + 30) - 30
    distance = np.linalg.norm(motion.points - expected, axis=1)[motion.found]
    assert motion.found.mean() > 0.9
    assert np.median(distance) < 0.15
    assert np.percentile(distance, 90) < 0.5


@every_accurate_estimator
def test_a_point_that_leaves_the_frame_is_not_found(estimator: Estimator) -> None:
    points = np.array([[SIZE[0] - 2, 80], [100, 80]], np.float32)
    [motion] = follow(estimator, (grey_frame(), grey_frame(8, 0), points))
    assert motion.found.tolist() == [False, True]
    assert np.isinf(motion.error_px[0])
    assert np.array_equal(motion.points[0], points[0])


@every_accurate_estimator
def test_where_nothing_is_to_be_seen_nothing_moves(estimator: Estimator) -> None:
    flat = np.full((160, 200), 90, np.uint8)
    points = np.array([[50, 60], [100, 80]], np.float32)
    [motion] = follow(estimator, (flat, flat, points))
    assert_is_whole(motion, points, SIZE)
    np.testing.assert_allclose(motion.points, points, atol=0.01)


@every_accurate_estimator
def test_other_content_does_not_find_back(estimator: Estimator) -> None:
    previous = grey_frame()
    points = inner_corners(previous)
    [motion] = follow(estimator, (previous, shifted(textured(77, 260, 320), -30, -30, 1, SIZE), points))
    assert_is_whole(motion, points, SIZE)
    assert np.median(motion.error_px) > 0.2  # Farneback smooths: 0.5 px; the others find back to 2 px or not at all


@every_estimator
def test_motions_are_whole_for_points_anywhere_in_the_frame(estimator: Estimator) -> None:
    rng = np.random.default_rng(2)
    points = np.concatenate(
        [
            rng.uniform(0, np.array(SIZE) - 1, (50, 2)),
            [[0, 0], [SIZE[0] - 1, SIZE[1] - 1], [SIZE[0] - 1, 0], [0, SIZE[1] - 1]],
        ]
    ).astype(np.float32)
    for motion in follow(estimator, (grey_frame(), grey_frame(4, 3), points), (grey_frame(), grey_frame(), points)):
        assert_is_whole(motion, points, SIZE)


@every_estimator
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 8), (300, 8), (8, 300), (3, 40), (17, 13)])
def test_tiny_frames_give_whole_motions(estimator: Estimator, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    previous, following = rng.integers(0, 255, (2, *size[::-1]), dtype=np.uint8)
    points = np.array([[0, 0], [size[0] / 2 - 0.5, size[1] / 2 - 0.5], [size[0] - 1, size[1] - 1]], np.float32)
    for motion in follow(estimator, (previous, following, points), (following, following, points)):
        assert_is_whole(motion, points, size)


@every_estimator
def test_no_queries_and_no_points_give_no_motion(estimator: Estimator) -> None:
    grey, points = grey_frame(), np.zeros((0, 2), np.float32)
    assert estimator.follow([]) == []
    some = inner_corners(grey)[:5]
    motions = follow(estimator, (grey, grey, points), (grey, grey_frame(1, 1), some), (grey, grey, points))
    assert [len(motion.points) for motion in motions] == [0, 5, 0]
    assert_is_whole(motions[0], points, SIZE)
    assert_is_whole(motions[1], some, SIZE)


@every_estimator
def test_equal_queries_have_equal_answers_in_any_order_and_batch_and_frames_of_other_sizes_go_together(
    estimator: Estimator,
) -> None:
    large = [grey_frame(2 * time, time) for time in range(3)]
    odd = [grey_frame(-time, 2 * time, 1.01, ODD_SIZE) for time in range(2)]
    pairs = [(large[0], large[1]), (odd[0], odd[1]), (large[1], large[2]), (odd[1], odd[0])]
    queries = [(a, b, inner_corners(a)[: 20 + 7 * number]) for number, (a, b) in enumerate(pairs)]
    alone = [follow(estimator, query)[0] for query in queries]
    assert_equal_motions(follow(estimator, *queries), alone)
    assert_equal_motions(follow(estimator, *reversed(queries)), alone[::-1])
    for query, motion in zip(queries, alone, strict=True):
        assert_is_whole(motion, query[2], query[0].shape[::-1])


@every_estimator
def test_the_same_call_gives_the_same_numbers_and_changes_nothing(estimator: Estimator) -> None:
    previous, following = grey_frame(), grey_frame(2, 1)
    points = inner_corners(previous)
    copies = previous.copy(), following.copy(), points.copy()
    [one] = follow(estimator, (previous, following, points))
    [other] = follow(estimator, (previous, following, points))
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.error_px, other.error_px)
    assert all(map(np.array_equal, (previous, following, points), copies))


@every_estimator
def test_a_prepared_frame_serves_both_its_pairs(estimator: Estimator) -> None:
    frames = [grey_frame(2 * time, -time) for time in range(3)]
    points = inner_corners(frames[1])[:30]
    first, second, third = (estimator.prepare(frame) for frame in frames)
    motions = estimator.follow([PointQuery(first, second, points), PointQuery(second, third, points)])
    fresh = follow(estimator, (frames[0], frames[1], points), (frames[1], frames[2], points))
    assert_equal_motions(motions, fresh)
    assert_equal_motions(estimator.follow([PointQuery(second, third, points)]), fresh[1:])


@every_estimator
def test_a_few_points_move_as_among_many(estimator: Estimator) -> None:
    previous, following = grey_frame(), grey_frame(1.5, 1)
    points = inner_corners(previous)
    [many] = follow(estimator, (previous, following, points))
    [few] = follow(estimator, (previous, following, points[10:13]))
    assert_equal_motions([few], [PointMotion(many.points[10:13], many.error_px[10:13], many.found[10:13])])


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_runs_on_the_cpu_unless_told(name: str) -> None:
    make = load_variant(ESTIMATORS, name, "estimator").make_estimator
    assert inspect.signature(make).parameters["device"].default == "cpu"


def test_an_unknown_estimator_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'surf' is unknown; choose one of dis, farneback, .*klt, .*torch"):
        load_variant(ESTIMATORS, "surf", "estimator")


def test_dense_flow_is_read_bilinearly_and_outside_the_frame_as_at_its_edge() -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32)
    slope = np.stack([0.1 * x, 0.05 * y], axis=2)
    points = np.random.default_rng(1).uniform(0, (53, 37), (40_000, 2)).astype(np.float32)
    [motion] = follow_by_flow(lambda previous, following: slope, [PointQuery(x, x, points)])
    np.testing.assert_allclose(motion.points, points * (1.1, 1.05), rtol=1e-5, atol=1e-5)
    edge = np.array([[59, 39], [59, 0]], np.float32)
    [motion] = follow_by_flow(lambda previous, following: -slope, [PointQuery(x, x, edge)])
    np.testing.assert_allclose(motion.points, [[53.1, 37.05], [53.1, 0]], rtol=1e-5)
    [motion] = follow_by_flow(lambda previous, following: slope, [PointQuery(x, x, edge)])
    assert not motion.found.any()


def test_opencl_without_a_device_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.ocl, "useOpenCL", lambda: False)
    for name in ("opencl_farneback", "opencl_dis"):
        with pytest.raises(ValueError, match=r"no OpenCL device; install .* pocl-opencl-icd") as raised:
            load_variant(ESTIMATORS, name, "estimator").make_estimator()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "plain", "program", "tolerance_px"),
    [
        ("opencl_farneback", "farneback", "video--optical_flow_farneback", 0.01),
        ("opencl_dis", "dis", "video--dis_flow", 0.1),
    ],
)
def test_opencl_runs_its_kernels_and_agrees_with_the_plain_flow(
    name: str, plain: str, program: str, tolerance_px: float, opencl_programs: Path
) -> None:
    previous, following = grey_frame(), grey_frame(3, -2)
    points = inner_corners(previous)
    [motion], [expected] = (
        follow(load_variant(ESTIMATORS, each, "estimator").make_estimator(), (previous, following, points))
        for each in (name, plain)
    )
    built = [path.name for path in opencl_programs.glob("*/*.bin")]
    assert any(each.startswith(program) for each in built), built
    np.testing.assert_allclose(motion.points, expected.points, atol=tolerance_px)
    assert not np.array_equal(motion.points, expected.points)  # the CPU's code would give the same to the last bit
