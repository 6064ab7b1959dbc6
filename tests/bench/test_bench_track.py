"""That what the benchmark of trackers is made of does what its tables say, over pictures with known motion."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from tasks.track.boxes import Box
from tasks.track.config import TrackConfig
from tasks.track.cuts import look_of
from tasks.track.evidence import begin_evidence
from tasks.track.follow import BoxStep
from tasks.track.frames import WorkingFrame
from tasks.track.truth import TruthFrame
from tasks.world.config import WorldConfig
from tasks.world.render import ObjectTruth
from tests.bench.track.accuracy import Result, interval, measure, percents, print_real, print_world
from tests.bench.track.gating import curve, draw_curves, print_curve, print_fit, print_gates, rejection
from tests.bench.track.seeds import EVERY, GAP, Footage, Seed, Verdict, real_seeds, real_sequences, world_seeds
from tests.bench.track.speed import Limit, measure_limit, print_profile, print_speed
from tests.bench.track.trackers import Followed, available_trackers, follow_seeds
from tests.bench.track.worlds import WorldVideo, draw_worlds
from tests.bench.track.yields import OURS, PAPER, MinedClip, mine_clips, pairs_a_minute, print_yields, recipes

_SHIFT_PX = 1.0  # a frame, of a textured square over a still background
_SIZE = (120, 160)
_GRADIENT = np.tile(np.linspace(20, 120, _SIZE[1]).astype(np.uint8), (_SIZE[0], 1))
_LOOK, _OTHER_LOOK = look_of(_GRADIENT), look_of(255 - _GRADIENT)


@pytest.fixture(scope="module")
def frames() -> list[WorkingFrame]:
    rng = np.random.default_rng(3)
    ground, square = (cv2.GaussianBlur(rng.uniform(0, 255, shape), (0, 0), 1.5) for shape in (_SIZE, (40, 40)))
    ground, square = 0.4 * ground + 60, 3 * (square - 127) + 127
    made = []
    for index in range(GAP + EVERY + 2):
        picture = ground.copy()
        left = 20 + round(_SHIFT_PX * index)
        picture[40:80, left : left + 40] = square
        grey = picture.clip(0, 255).astype(np.uint8)
        made.append(WorkingFrame(index, index / 25, grey, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 1.0, 1.0))
    return made


@pytest.fixture(scope="module")
def sequence(frames: list[WorkingFrame]) -> Footage:
    true = np.array([[20 + _SHIFT_PX * index, 40, 40, 40] for index in range(len(frames))])
    return Footage("square", frames, real_seeds(true, frames))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WorldConfig, list[WorldVideo]]:
    cache, config = tmp_path_factory.mktemp("worlds"), WorldConfig(width=64, height=48, num_frames=36, num_objects=2)
    return cache, config, draw_worlds(cache, config, seed=4, count=2)


def made_result(right: bool, sequence: str = "one", jolt_px: float = 0.5, cut: bool = False) -> Result:
    box = Box(10, 10, 40, 40)
    patch = np.ones(576, np.float32) / 24
    followed = Followed(Seed(0, box, box), begin_evidence(box, patch))
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))
    looks = (look_of(ramp), look_of(255 - ramp if cut else ramp))
    for _ in range(GAP):
        step = BoxStep(box, error_px=0.1, agreement=0.9, jolt_px=jolt_px, found=True)
        followed.steps.append(step)
        followed.looks.append(looks)
        followed.evidence.add(step, patch)
    return Result(
        sequence, (240, 320), followed, Verdict(0.8 if right else 0.1, right, right, "" if right else "drift")
    )


def test_seeds_are_the_true_boxes_at_every_fifth_frame_that_have_one_after_the_gap(frames: list[WorkingFrame]) -> None:
    true = np.tile([8.0, 4.0, 20.0, 10.0], (len(frames), 1))
    assert [seed.start for seed in real_seeds(true, frames)] == [0, EVERY]
    true[EVERY + GAP] = 0
    assert [seed.start for seed in real_seeds(true, frames)] == [0]
    half = [WorkingFrame(one.index, one.seconds, one.grey, one.bgr, 2.0, 2.0) for one in frames]
    assert real_seeds(true, half)[0].box == Box(4, 2, 10, 5)


@pytest.mark.parametrize("name", ["klt", "KLT", "kcf"])
def test_a_square_that_moves_over_a_still_ground_is_followed(sequence: Footage, name: str) -> None:
    trackers, left_out = available_trackers([name])
    assert not left_out
    followed, seconds, steps = follow_seeds(sequence.frames, sequence.seeds, trackers[0])
    assert steps == GAP * len(sequence.seeds)
    assert seconds > 0
    assert [len(one.boxes) for one in followed] == [GAP + 1] * len(sequence.seeds)
    for seed, one in zip(sequence.seeds, followed, strict=True):
        assert sequence.judge(seed, one.boxes).right


def test_seeds_in_lockstep_end_where_each_ends_alone(sequence: Footage) -> None:
    (tracker, *_), _ = available_trackers(["klt"])
    together, _, _ = follow_seeds(sequence.frames, sequence.seeds, tracker)
    for seed, one in zip(sequence.seeds, together, strict=True):
        ((alone,), _, _) = follow_seeds(sequence.frames, [seed], tracker)
        np.testing.assert_allclose([box.centre for box in one.boxes], [box.centre for box in alone.boxes], atol=1e-3)


def test_a_box_that_stays_while_its_object_leaves_is_wrong(sequence: Footage) -> None:
    (static,) = available_trackers(["static"])[0]
    (row,) = measure(lambda height, colour: [sequence], [static], is_world=False)
    assert not any(result.verdict.right for result in row.results)
    assert row.results[0].verdict.iou == pytest.approx((40 - GAP) / (40 + GAP))


def test_an_estimator_that_does_not_run_here_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITRACK_RAFT_WEIGHTS", raising=False)
    trackers, left_out = available_trackers(["raft"])
    assert trackers == []
    assert left_out[0].startswith("raft: raft: no weights")


def test_masks_are_looked_up_at_source_size(frames: list[WorkingFrame]) -> None:
    half = [WorkingFrame(one.index, one.seconds, one.grey, one.bgr, 2.0, 2.0) for one in frames]
    mask = np.zeros((2 * _SIZE[0], 2 * _SIZE[1]), bool)
    mask[100:120, 60:80] = True
    seed = Seed(0, Box(0, 0, 10, 10), Box(30, 50, 10, 10))
    judged = Footage("half", half, [seed], masks={GAP: mask})
    assert judged.judge(seed, [seed.box, Box(30, 50, 10, 10)]) == Verdict(1.0, True, True, on_mask=True)
    assert judged.judge(seed, [seed.box, Box(31, 43, 10, 10)]).on_mask is False
    assert judged.judge(seed, [seed.box, Box(900, 50, 10, 10)]).on_mask is False


def test_a_world_is_drawn_once_and_its_truth_comes_back(world: tuple[Path, WorldConfig, list[WorldVideo]]) -> None:
    cache, config, videos = world
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = draw_worlds(cache, config, seed=4, count=2)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before
    assert len(before) == 4
    assert [video.name for video in again] == [video.name for video in videos] == ["world-4-0000", "world-4-0001"]
    assert again[1].frames[7].things == videos[1].frames[7].things
    assert again[0].num_solids == [2] * config.num_frames


def test_seeds_of_a_world_are_solids_in_clear_view() -> None:
    def thing(number: int, side: float, visibility: float = 1.0, occlusion: float = 0.0) -> ObjectTruth:
        box = (5.0, 5.0, side, side)
        return ObjectTruth(number, "", box, box, visibility, occlusion)

    things = (thing(1, 30), thing(2, 19), thing(3, 30, visibility=0.4), thing(4, 30, occlusion=0.4), thing(5, 30))
    frame = TruthFrame(np.zeros(_SIZE, np.uint8), things, is_cut=False)
    video = WorldVideo("made", Path("none"), [frame] * (GAP + 1), [4] * (GAP + 1))
    assert [(seed.start, seed.thing) for seed in world_seeds(video)] == [(0, 1)]  # the fifth is an occluder
    judged = Footage("made", [], world_seeds(video), truth=video.frames)
    assert judged.judge(judged.seeds[0], [Box(5, 5, 30, 30)] * (GAP + 1)).right
    cut = [frame] * 7 + [TruthFrame(frame.mask, things, is_cut=True)] + [frame] * (GAP - 7)
    judged = Footage("made", [], world_seeds(video), truth=cut)
    assert judged.judge(judged.seeds[0], [Box(5, 5, 30, 30)] * (GAP + 1)).cause == "cut"


def test_the_gates_are_those_of_the_miner() -> None:
    result = made_result(True)
    confidence = result.followed.evidence.confidence
    config = TrackConfig(min_confidence=confidence - 0.001)
    assert rejection(result, config) == ""
    assert rejection(made_result(True, cut=True), config) == "crossed_cut"
    assert rejection(result, TrackConfig(min_confidence=confidence + 0.001)) == "unsure"
    lost = made_result(True)
    lost.followed.steps[3:] = [
        BoxStep(one.box, error_px=math.inf, agreement=0.0, jolt_px=0.0, found=False) for one in lost.followed.steps[3:]
    ]
    assert rejection(lost, config) == "occlusion"


def test_the_curve_takes_the_surest_first_and_shares_are_of_all_seeds() -> None:
    results = [made_result(True, jolt_px=0.1), made_result(True, jolt_px=1), made_result(True, jolt_px=10)]
    surest = sorted(results, key=lambda result: -result.followed.evidence.confidence)
    results = [replace(surest[2], verdict=Verdict(0.1, False, False, "drift")), *surest[:2]]
    accepted, precision, confidence = curve([*results, made_result(True, cut=True)], TrackConfig())
    np.testing.assert_allclose(accepted, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(precision, [1, 1, 2 / 3])
    assert (np.diff(confidence) < 0).all()


def test_tables_and_the_figure_are_made(sequence: Footage, tmp_path: Path) -> None:
    console = Console(width=170, record=True, file=(tmp_path / "out.txt").open("w"))
    trackers, _ = available_trackers(["klt"])
    rows = measure(lambda height, colour: [sequence], trackers, is_world=False)
    print_world(console, "a world", rows)
    rows[0].results.append(Result("masked", (1, 1), rows[0].results[0].followed, Verdict(1, True, True, on_mask=True)))
    print_real(console, rows, [True, False])
    rng = np.random.default_rng(0)
    sets = {
        name: [
            made_result(bool(rng.random() < 0.7), f"{name}{index % 4}", float(rng.uniform(0.1, 9)))
            for index in range(40)
        ]
        for name in ("world", "real")
    }
    print_gates(console, sets, TrackConfig())
    print_curve(console, sets, TrackConfig())
    print_fit(console, sets["world"], sets["real"])
    draw_curves(tmp_path / "figures" / "gates.svg", sets, TrackConfig())
    text = console.export_text()
    assert "klt" in text
    assert "_COEFFICIENTS = (" in text
    assert (tmp_path / "figures" / "gates.svg").read_text().startswith("<?xml")


def test_intervals_are_by_sequence() -> None:
    results = [made_result(right, name) for right, name in ((True, "a"), (True, "a"), (False, "b"), (False, "b"))]
    found = interval(results, lambda verdict: verdict.right)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert percents(found) == "50.0 [0, 100]"
    assert percents(interval(results[:2], lambda verdict: verdict.right)) == "100.0"


def test_mining_times_and_counts_come_together(
    world: tuple[Path, WorldConfig, list[WorldVideo]], tmp_path: Path
) -> None:
    console = Console(width=170, record=True, file=(tmp_path / "out.txt").open("w"))
    config, path = recipes()[OURS], world[2][0].path
    (tmp_path / "no-video.mp4").write_bytes(b"nothing")
    (mined,) = mine_clips(console, [path, tmp_path / "no-video.mp4"], config, repeats=2)
    assert "left out: no-video.mp4: unreadable" in console.export_text(clear=False)
    assert (mined.frames, mined.clip) == (36, path.stem)
    limit = measure_limit(path, config, repeats=1)
    assert limit.decode_seconds + limit.estimator_seconds > 0
    print_speed(console, {OURS: [mined]}, {mined.clip: limit})
    print_profile(console, [path], config)
    assert "of the limit" in console.export_text()


def test_pairs_a_minute_are_over_all_clips_together(tmp_path: Path) -> None:
    console = Console(width=170, record=True, file=(tmp_path / "out.txt").open("w"))
    ours = [MinedClip("a", 50, 2.0, 8, {"tracks": 8}, 1.0), MinedClip("b", 100, 4.0, 1, {"tracks": 1}, 1.0)]
    paper = [MinedClip("a", 50, 2.0, 1, {"rejected_cut": 3}, 9.0), MinedClip("b", 100, 4.0, 2, {}, 9.0)]
    assert pairs_a_minute(ours) == 90
    print_yields(console, {OURS: ours, PAPER: paper}, {})
    print_speed(console, {OURS: ours, PAPER: paper}, {"a": Limit(0.1, 0.3)})
    text = console.export_text()
    assert "3.0 times the pairs" in text
    assert "27.0 times as fast per accepted track" in text


def test_the_real_sequences_have_their_seeds_and_masks(shared_data: Path) -> None:
    sequence = next(real_sequences(shared_data, 120, colour=False))
    assert sequence.frames[0].grey.shape[0] == 120
    assert sequence.masks is not None
    assert {seed.start + GAP for seed in sequence.seeds} == set(sequence.masks)
    judged = [sequence.judge(seed, [seed.box, seed.end]) for seed in sequence.seeds if seed.end]
    assert all(verdict.right and verdict.iou == pytest.approx(1) for verdict in judged)
