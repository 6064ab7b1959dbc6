"""How fast the track stage is: beside the least it could cost, beside the paper's recipe, and over two processes."""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.pool import Call, WorkerPool
from tasks.track.config import TrackConfig
from tasks.track.decode import VideoDecoder
from tasks.track.motion import PointEstimator, PointMotion, PointQuery
from tasks.track.variants import make_estimator
from tasks.track.video import mine_video
from tests.bench.track.yields import OURS, PAPER, MinedClip

LIMIT_TO_REACH = 0.7  # of the limit's frames a second
RATIO_TO_REACH = 20  # times the paper's recipe, per accepted track
WORKERS_TO_REACH = 1.8
_PROJECT = Path(__file__).resolve().parents[3]
_DEAREST = 14  # functions that the profile names


@dataclass(frozen=True)
class Limit:
    """CPU seconds of one clip: decoding alone, and the estimator alone on the queries of a run."""

    decode_seconds: float
    estimator_seconds: float


class _Recorder:
    """An estimator that keeps what it was asked, in order: frames to prepare, and lists of queries."""

    def __init__(self, estimator: PointEstimator[Any]) -> None:
        self._estimator = estimator
        self.asked: list[np.ndarray | list[tuple[int, int, np.ndarray]]] = []
        self._frames = 0

    def prepare(self, grey: np.ndarray) -> tuple[int, Any]:
        self.asked.append(grey.copy())
        self._frames += 1
        return self._frames - 1, self._estimator.prepare(grey)

    def follow(self, queries: Sequence[PointQuery[tuple[int, Any]]]) -> list[PointMotion]:
        self.asked.append([(one.previous[0], one.following[0], one.points.copy()) for one in queries])
        inner = [PointQuery(one.previous[1], one.following[1], one.points) for one in queries]
        return self._estimator.follow(inner)


def measure_limit(path: Path, config: TrackConfig, repeats: int) -> Limit:
    """The limit of one clip, medians of `repeats`."""
    recorder = _Recorder(make_estimator(config.estimator, "cpu"))
    with patch("tasks.track.video.make_estimator", lambda name, device: recorder):
        mine_video(path, path.stem, config)
    decoding, estimating = [], []
    for _ in range(repeats):
        started = time.process_time()
        with VideoDecoder(path) as decoder:
            for _frame in decoder:
                pass
        decoding.append(time.process_time() - started)
        estimating.append(_replay(recorder, make_estimator(config.estimator, "cpu")))
    return Limit(statistics.median(decoding), statistics.median(estimating))


def _replay(recorder: _Recorder, estimator: PointEstimator[Any]) -> float:
    """CPU seconds of answering the recorded queries again."""
    prepared: dict[int, Any] = {}
    seconds = 0.0
    for asked in recorder.asked:
        if isinstance(asked, list):
            queries = [PointQuery(prepared[before], prepared[after], points) for before, after, points in asked]
            started = time.process_time()
            estimator.follow(queries)
        else:
            started = time.process_time()
            frame = estimator.prepare(asked)
            prepared[len(prepared)] = frame
        seconds += time.process_time() - started
    return seconds


def print_speed(console: Console, mined: Mapping[str, Sequence[MinedClip]], limits: Mapping[str, Limit]) -> None:
    """Frames a second of the track stage beside the limit, and seconds an accepted track beside the paper's recipe."""
    table = Table(title="The track stage on one core, CPU time")
    headings = ("clip", "frames/s", "limit: frames/s", "decoding s", "estimator s", "of the limit")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "clip" else "right")
    ours = {clip.clip: clip for clip in mined[OURS]}
    for name, limit in limits.items():
        table.add_row(*_speed_row(name, [ours[name]], [limit]))
    table.add_section()
    table.add_row(*_speed_row("all", [ours[name] for name in limits], [*limits.values()]))
    console.print(table)
    console.print(
        f"limit: decoding alone plus the estimator alone on the same queries; to reach: {LIMIT_TO_REACH:g} of it."
    )
    seconds = {}
    for name, clips in mined.items():
        total, tracks = sum(clip.cpu_seconds for clip in clips), sum(clip.tracks for clip in clips)
        frames = sum(clip.frames for clip in clips)
        seconds[name] = total / tracks if tracks else float("inf")
        console.print(
            f"{name}: {total:.1f} s, {1000 * total / frames:.1f} ms a frame, {tracks} tracks, "
            f"{1000 * seconds[name]:.0f} ms an accepted track"
        )
    if PAPER in seconds:
        ratio = seconds[PAPER] / seconds[OURS]
        console.print(f"{ratio:.1f} times as fast per accepted track as the {PAPER} (to reach: {RATIO_TO_REACH}).")


def _speed_row(name: str, clips: Sequence[MinedClip], limits: Sequence[Limit]) -> list[str]:
    frames, seconds = sum(clip.frames for clip in clips), sum(clip.cpu_seconds for clip in clips)
    decoding, estimating = sum(one.decode_seconds for one in limits), sum(one.estimator_seconds for one in limits)
    least = decoding + estimating
    return [
        name,
        f"{frames / seconds:.0f}",
        f"{frames / least:.0f}",
        f"{decoding:.2f}",
        f"{estimating:.2f}",
        f"{least / seconds:.2f}",
    ]


def print_profile(console: Console, paths: Sequence[Path], config: TrackConfig) -> None:
    """Where the time goes: CPU time inside each file and the dearest functions, as the profiler sees them."""
    profile = cProfile.Profile(time.process_time)
    for path in paths:
        profile.enable()
        mine_video(path, path.stem, config)
        profile.disable()
    timings = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # not in its stub
    total = sum(entry[2] for entry in timings.values())
    by_stage: Counter[str] = Counter()
    rows = []
    for (file, _, function), (_, calls, own, _, callers) in timings.items():
        rows.append((own, calls, f"{_short(file)}: {function}" if file != "~" else function))
        if file != "~" and str(_PROJECT / "tasks") in file:
            by_stage[_short(file)] += own
        else:  # what a library's function costs is charged to the files that call it
            for (caller, _, _), (_, _, own_there, _) in callers.items():
                by_stage[_short(caller) if str(_PROJECT / "tasks") in caller else "libraries in libraries"] += own_there
    table = Table(title=f"Profile: {total:.1f} s, the profiler's own cost included")
    for heading in ("file, with what it calls in libraries", "%", "function by itself", "calls", "% "):
        table.add_column(heading, justify="left" if heading[0] == "f" else "right")
    dearest = sorted(rows, reverse=True)[:_DEAREST]
    for (file, share), (own, calls, name) in zip(by_stage.most_common(_DEAREST), dearest, strict=False):
        table.add_row(file, f"{100 * share / total:.1f}", name[:70], str(calls), f"{100 * own / total:.1f}")
    console.print(table)


def print_workers(console: Console, paths: Sequence[Path], config: TrackConfig, rounds: int) -> None:
    """Wall seconds of one worker process and of two over the same clips, the longest first."""
    seconds = {workers: _pool_seconds(paths, config, workers, rounds) for workers in (1, 2)}
    ratio = seconds[1] / seconds[2]
    console.print(
        f"{len(paths)} clips, {rounds} times: {seconds[1]:.1f} s with one worker process, {seconds[2]:.1f} s with two: "
        f"{ratio:.2f} times as fast (to reach: {WORKERS_TO_REACH}; only on two free cores)"
    )


def _pool_seconds(paths: Sequence[Path], config: TrackConfig, workers: int, rounds: int) -> float:
    ordered = sorted(paths, key=lambda path: -path.stat().st_size)
    calls = [Call("tests.bench.track.speed:count_tracks", (path, config)) for path in ordered for _ in range(rounds)]
    with WorkerPool(workers, preload=("tests.bench.track.speed",)) as pool:
        for _ in pool.run([Call("tests.bench.track.speed:count_tracks", (ordered[-1], config))] * workers):
            pass  # each worker is born and has imported what it needs
        started = time.perf_counter()
        for _, reply in pool.run(calls):
            assert reply.dropped is None, reply.dropped
        return time.perf_counter() - started


def count_tracks(path: Path, config: TrackConfig) -> int:
    """What a worker does with a clip; its tracks need not come back."""
    return len(mine_video(path, path.stem, config).rows)


def _short(file: str) -> str:
    return Path(file).name if str(_PROJECT) not in file else str(Path(file).relative_to(_PROJECT))
