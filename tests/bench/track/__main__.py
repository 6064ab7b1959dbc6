"""`make bench-track`: how right trackers are, what the gates keep, how many pairs a minute of video gives, how fast.

Real sequences with known boxes (DAVIS, OTB) and videos of the generated world, whose truth is known everywhere.
Constants of tasks.track were chosen on the tuning world and on the real sequences; none on the held-out world.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
from rich.console import Console

from tasks.track.config import TrackConfig
from tasks.track.follow import PointFollower
from tasks.world.config import hard_world
from tests.bench.track.accuracy import Result, measure, print_real, print_world, true_ends
from tests.bench.track.gating import draw_curves, print_curve, print_fit, print_gates
from tests.bench.track.seeds import WORKING_HEIGHT_PX, Footage, real_sequences, world_sequence
from tests.bench.track.speed import measure_limit, print_profile, print_speed, print_workers
from tests.bench.track.trackers import available_trackers
from tests.bench.track.worlds import HELD_OUT, TUNING, WorldVideo, draw_worlds
from tests.bench.track.yields import (
    OURS,
    WORLD_VIDEOS,
    clip_paths,
    mine_clips,
    print_yields,
    recipes,
    world_precision,
)
from tests.real_data import real_data

_PARTS = ("accuracy", "gating", "yield", "speed")
_REPEATS = 3
_POOL_ROUNDS = 2


def main() -> int:
    options = _options()
    console = Console(width=options.width)
    console.print(f"{Path(sys.executable).name} -m tests.bench.track {' '.join(sys.argv[1:])}", highlight=False)
    cv2.setNumThreads(1)
    for words in _left_out(options):
        console.print(f"left out: {words}")
    if {"accuracy", "gating"} & set(options.parts):
        _follow(console, options)
    if {"yield", "speed"} & set(options.parts):
        _mine(console, options)
    return 0


def _left_out(options: argparse.Namespace) -> list[str]:
    """What the options leave out of the whole."""
    words = [f"part {part}" for part in _PARTS if part not in options.parts]
    words += ["trackers but " + ", ".join(options.trackers)] if options.trackers else []
    words += [f"generated videos beyond {options.videos} of each set"] if options.videos else []
    words += ["the paper's recipe"] if options.no_paper else []
    return words + ["most clips: --all mines every one"] * (not options.all)


def _follow(console: Console, options: argparse.Namespace) -> None:
    """Accuracy and gating: both follow seeds."""
    with_table = "accuracy" in options.parts
    trackers, left_out = available_trackers(options.trackers if with_table else ["klt"], options.device)
    for words in left_out:
        console.print(f"left out: {words}")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # as in a worker process
    gated: dict[str, list[Result]] = {}
    judged = next((place for place, tracker in enumerate(trackers) if tracker.make_follower is PointFollower), None)
    for title, (seed, count) in {"tuning world": TUNING, "held-out world": HELD_OUT}.items():
        videos = draw_worlds(options.cache, hard_world(), seed, options.videos or count, options.workers)
        with console.status(title) as status:
            rows = measure(_world_sequences(videos), trackers, True, status.update)
        gated[title] = [] if judged is None else rows[judged].results
        if with_table:
            print_world(console, f"Generated world, seed {seed} ({title}), no gates", rows)
    if not (options.data / "davis").is_dir():
        console.print(f"left out: real sequences, there are none in {options.data}; set TRITRACK_DATA")
    else:
        with console.status("real sequences") as status:
            rows = measure(partial(real_sequences, options.data), trackers, False, status.update)
        gated["real sequences"] = [] if judged is None else rows[judged].results
        if with_table:
            print_real(console, rows, true_ends(real_sequences(options.data, WORKING_HEIGHT_PX, False)))
    if judged is None:
        console.print("left out: gates, no estimator was named")
        return
    if "gating" in options.parts:
        console.print(f"Gates on what {trackers[judged].name} followed:")
        config = TrackConfig()
        print_gates(console, gated, config)
        print_curve(console, gated, config)
        drawn = (options.out or options.cache) / "gates.svg"
        draw_curves(drawn, gated, config)
        console.print(f"The curves are drawn in {drawn}.")
    if options.fit:
        print_fit(console, gated["tuning world"], gated.get("real sequences", []))


def _mine(console: Console, options: argparse.Namespace) -> None:
    """Yield and speed: both mine the clips with either recipe."""
    paths = clip_paths(options.data, options.all)[: options.clips or None]
    if not paths:
        console.print(f"left out: clips, there are none in {options.data}; set TRITRACK_DATA")
        return
    configs = recipes()
    mined = {
        name: mine_clips(console, paths, config, _REPEATS if name == OURS else 1)
        for name, config in configs.items()
        if name == OURS or not options.no_paper
    }
    if "yield" in options.parts:
        videos = options.videos or WORLD_VIDEOS
        precisions = {name: world_precision(options.cache, configs[name], videos, options.workers) for name in mined}
        print_yields(console, mined, precisions)
    if "speed" in options.parts:
        held = [path for path in paths if path.stem in {clip.clip for clip in mined[OURS]}]
        limits = {path.stem: measure_limit(path, configs[OURS], _REPEATS) for path in held}
        print_speed(console, mined, limits)
        print_profile(console, held, configs[OURS])
        print_workers(console, held, configs[OURS], _POOL_ROUNDS)


def _world_sequences(videos: Sequence[WorldVideo]) -> Callable[[int, bool], Iterable[Footage]]:
    return lambda height, colour: (world_sequence(video, colour) for video in videos)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument(
        "--trackers", nargs="*", default=[], help="rows of the accuracy table by their first word; none: all"
    )
    parser.add_argument("--fit", action="store_true", help="fit the coefficients of the confidence anew")
    parser.add_argument("--all", action="store_true", help="mine every real clip; the paper's recipe takes long")
    parser.add_argument("--clips", type=int, default=0, help="mine so many of the clips; 0: a dozen")
    parser.add_argument("--no-paper", action="store_true", help="do not mine with the paper's recipe")
    parser.add_argument("--videos", type=int, default=0, help="so many of each generated world; 0: all")
    parser.add_argument("--device", default="cpu", help="where torch and raft work")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw worlds")
    parser.add_argument("--data", type=Path, default=real_data(), help="the folder of real data")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "tritrack-bench", help="drawn worlds")
    parser.add_argument("--out", type=Path, default=None, help="where the figure goes; not given: the cache")
    parser.add_argument("--width", type=int, default=150, help="columns of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
