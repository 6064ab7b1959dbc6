"""The audit: a tracker mines videos of the generated world, and every track is judged against the truth."""

from __future__ import annotations

import logging
import math
import multiprocessing
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.keys import KeyDocument
from storage.manifests import Manifest, commit
from storage.root import Root
from storage.tables import table_bytes
from tasks.noise import measure_noise
from tasks.records import AUDIT_SCHEMA, Progress, no_progress
from tasks.track.config import TrackConfig
from tasks.track.rows import PathRow
from tasks.track.truth import TruthFrame, Verdict, can_be_followed, judge_track
from tasks.track.video import MinedVideo, mine_video, resolved_device
from tasks.world.config import WorldConfig, hard_world
from tasks.world.write import encode_video, end_with_parent

_log = logging.getLogger(__name__)

_NUM_FRAMES = 100  # at least; and room for three tracks one after the other
_MAX_HEIGHT_PX = 448  # of the world, whatever the working height: drawing costs by the pixel
_AHEAD = 2  # videos drawn beforehand, with 8 MB of truth each
_SEEDS_APART = 1_000_000  # worlds on which a tracker is tuned have small seeds


def audit_tracker(
    root: Root,
    config: TrackConfig,
    seed: int,
    num_videos: int,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Mine generated videos with the configured tracker, judge its tracks and commit them as one unit.

    The file `audit.parquet` has a row a track (AUDIT_SCHEMA); the fact `noise` is a `tasks.noise.TrackerNoise` as
    JSON. A window that the video's end cut off was neither accepted nor rejected, and counts nowhere in it. Drawing
    gives about 30 frames a second on one core, so that twelve videos take less than a minute on two.
    Raises ValueError for a number of videos below 1.
    """
    if num_videos < 1:
        raise ValueError(f"audit: {num_videos} videos are too few; it needs at least 1")
    device = resolved_device(config.estimator, device)
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    windows = 0
    world = audit_world(config)
    with tempfile.TemporaryDirectory(prefix="tritrack-audit-") as folder:
        drawn = _draw_videos(Path(folder), world, seed + _SEEDS_APART, num_videos)
        for index, (path, frames) in enumerate(drawn):
            progress(index, num_videos, f"{len(rows)} tracks")
            mined = mine_video(path, f"world-{index:04d}", config, device=device)
            rows += _judged(index, mined, frames, _gap_frames(config, world))
            given_up = mined.counts["rejected_duplicate"] + mined.counts["rejected_video_end"]
            windows += mined.counts["windows"] - given_up
            path.unlink()
    progress(num_videos, num_videos, f"{len(rows)} tracks")
    noise = measure_noise(rows, config.estimator, num_videos, windows, seed)
    counts = {"accepted": noise.accepted, "right": noise.right, "generated_videos": num_videos}
    counts.update({f"wrong_{one.cause}": one.tracks for one in noise.causes if one.cause != "right"})
    seconds = time.monotonic() - started
    manifest = commit(
        root,
        document,
        {"audit.parquet": table_bytes(rows, AUDIT_SCHEMA)},
        counts=dict(sorted(counts.items())),
        facts={"noise": noise.to_json()},
        seconds=seconds,
        device=device,
    )
    _log.info("audit of %s: %d of %d tracks right, %.1f s", config.estimator, noise.right, noise.accepted, seconds)
    return manifest


def audit_world(config: TrackConfig) -> WorldConfig:
    """The hard world at the tracker's working size, long enough for its tracks."""
    height = min(max(config.working_height_px, 240), _MAX_HEIGHT_PX) // 2 * 2
    world = replace(hard_world(), width=round(height * 2 / 3) * 2, height=height)
    return replace(world, num_frames=max(_NUM_FRAMES, 3 * _gap_frames(config, world) + 10))


def _gap_frames(config: TrackConfig, world: WorldConfig) -> int:
    return math.ceil(config.gap_seconds * world.fps) or config.gap_frames


def _draw_videos(
    folder: Path, world: WorldConfig, seed: int, num_videos: int
) -> Iterator[tuple[Path, list[TruthFrame]]]:
    """Videos in order, with their truth; a process of its own draws the next ones while one is mined."""
    if num_videos == 1:
        yield _draw_video(folder, world, seed, 0)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        begun: deque[Future[tuple[Path, list[TruthFrame]]]] = deque()
        try:
            for index in range(num_videos + _AHEAD):
                if index < num_videos:
                    begun.append(pool.submit(_draw_video, folder, world, seed, index))
                if index >= _AHEAD:
                    yield begun.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _draw_video(folder: Path, world: WorldConfig, seed: int, index: int) -> tuple[Path, list[TruthFrame]]:
    path = folder / f"{index}.mp4"
    frames: list[TruthFrame] = []
    encode_video(path, world, seed, index, lambda frame: frames.append(TruthFrame.of(frame)))
    return path, frames


def _judged(index: int, mined: MinedVideo, frames: Sequence[TruthFrame], gap_frames: int) -> list[dict[str, Any]]:
    """Rows of AUDIT_SCHEMA for one video."""
    rows = []
    followed: list[tuple[PathRow, str]] = [(row, "") for row in mined.rows]
    followed += [(row, row["reason"]) for row in mined.rejected]
    for row, reason in followed:
        boxes, start = row["boxes"], row["start_frame"]
        verdict = judge_track(boxes, start, frames)
        rows.append(
            {
                "video": index,
                "track": row["track"],
                "accepted": not reason,
                "reason": reason,
                "possible": can_be_followed(boxes[0], start, gap_frames, frames),
                "start_frame": start,
                "end_frame": start + len(boxes) - 1,
                **_verdict_fields(verdict),
            }
        )
    return rows


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """What a row says of a verdict; unknown errors are null."""
    errors = {
        name: None if math.isnan(value := getattr(verdict, name)) else value
        for name in ("centre_error_px", "centre_error_share", "scale_error")
    }
    return {
        "right": verdict.right,
        "cause": verdict.cause,
        "object": verdict.target,
        **errors,
        "iou": verdict.iou,
    }
