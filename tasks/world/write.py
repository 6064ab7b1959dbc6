"""Writing videos: mp4 files of the generated world with a table of labelled boxes, resumable video by video.

A folder holds `world-<seed>-<index>.mp4`, `labels.parquet` and, written last, `world.json`; `.parts` keeps
each finished video's record, so that a run that was stopped, or a later one for more videos, makes only
what is missing. One writer a folder at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import av

from storage.root import hash_file
from storage.tables import table_bytes
from tasks.encoding import video_codec
from tasks.records import Progress, no_progress
from tasks.world.config import RENDERER, WorldConfig
from tasks.world.labels import LABEL_SCHEMA, label_rows
from tasks.world.render import Frame, render_video

log = logging.getLogger(__name__)

LABELS_FILE = "labels.parquet"
MARKER_FILE = "world.json"
_PARTS = ".parts"
_OFF = ("num_occluders", "light_change_probability", "scale_change")  # at 0


def write_videos(
    folder: Path,
    config: WorldConfig,
    seed: int,
    count: int,
    workers: int = 1,
    progress: Progress = no_progress,
) -> list[Path]:
    """Videos 0 to `count` - 1 of a world as mp4 files (H.264, yuv420p), and their labels.

    Equal arguments give equal bytes on one machine. What stands in the folder already and is whole is not
    made again; files of another configuration are replaced. Returns the videos in order.
    Raises ValueError for a count or number of workers below 1.
    """
    for name, value in (("count", count), ("workers", workers)):
        if value < 1:
            raise ValueError(f"world: {name} is {value}; it must be at least 1")
    videos = [folder / f"world-{seed}-{index:04d}.mp4" for index in range(count)]
    if _is_finished(folder, config, seed, count):
        progress(count, count, "present")
        return videos
    (folder / _PARTS).mkdir(parents=True, exist_ok=True)
    (folder / MARKER_FILE).unlink(missing_ok=True)
    parts = [_read_part(video, config, seed, index) for index, video in enumerate(videos)]
    missing = [index for index, part in enumerate(parts) if part is None]
    done = count - len(missing)
    progress(done, count)
    for index, part in _make_parts(videos, config, seed, missing, workers):
        parts[index] = part
        done += 1
        progress(done, count, videos[index].name)
    finished = [part for part in parts if part is not None]
    rows = [row for part in finished for row in part["labels"]]
    labels = table_bytes(rows, LABEL_SCHEMA)
    _replace(folder / LABELS_FILE, labels)
    files = {video.name: part["sha256"] for video, part in zip(videos, finished, strict=True)}
    files[LABELS_FILE] = hashlib.sha256(labels).hexdigest()
    marker = {**_world(config, seed), "count": count, "files": files}
    _replace(folder / MARKER_FILE, json.dumps(marker, indent=1).encode())
    log.info("world: %d videos in %s, %d made now, %d labelled boxes", count, folder, len(missing), len(rows))
    return videos


def ignore_frame(frame: Frame) -> None:
    """The observer of those who want no frames."""


def encode_video(
    path: Path, config: WorldConfig, seed: int, index: int, observe: Callable[[Frame], None] = ignore_frame
) -> list[dict[str, Any]]:
    """Render and encode one video; returns its label rows, without `video` and `file`.

    `observe` is shown every frame with its masks and boxes (no depth, flow or normals) as it is drawn.
    H.264 where this build of FFmpeg has x264, else MPEG-4; one thread and no time stamps of the clock, so
    that equal frames give equal bytes.
    """
    codec, codec_options = video_codec()
    rows: list[dict[str, Any]] = []
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=config.fps, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in render_video(config, seed, index, truth=False):
            observe(frame)
            rows.extend(label_rows(frame))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))
    return rows


def _make_parts(
    videos: list[Path], config: WorldConfig, seed: int, missing: list[int], workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make the missing videos, in this process or in a pool; yields each as it is done."""
    if workers == 1 or len(missing) < 2:
        for index in missing:
            yield index, _make_part(videos[index], config, seed, index)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), context, initializer=end_with_parent) as pool:
        jobs = {pool.submit(_make_part, videos[index], config, seed, index): index for index in missing}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _make_part(video: Path, config: WorldConfig, seed: int, index: int) -> dict[str, Any]:
    temporary = video.with_name(f".{video.name}.partial")
    try:
        rows = encode_video(temporary, config, seed, index)
        sha256, _ = hash_file(temporary)
        os.replace(temporary, video)
    finally:
        temporary.unlink(missing_ok=True)
    labels = [{"video": sha256, "file": video.name, **row} for row in rows]
    part = {**_world(config, seed), "index": index, "sha256": sha256, "labels": labels}
    _replace(_part_path(video), json.dumps(part).encode())
    return part


def _read_part(video: Path, config: WorldConfig, seed: int, index: int) -> dict[str, Any] | None:
    """The record of a video that is there, whole and of this world, or None."""
    record = _read_json(_part_path(video))
    wanted = {**_world(config, seed), "index": index}
    if record is None or not video.is_file() or any(record.get(name) != value for name, value in wanted.items()):
        return None
    return record if hash_file(video)[0] == record["sha256"] else None


def _is_finished(folder: Path, config: WorldConfig, seed: int, count: int) -> bool:
    marker = _read_json(folder / MARKER_FILE)
    wanted = {**_world(config, seed), "count": count}
    if marker is None or any(marker.get(name) != value for name, value in wanted.items()):
        return False
    return all(
        (folder / name).is_file() and hash_file(folder / name)[0] == sha256 for name, sha256 in marker["files"].items()
    )


def _world(config: WorldConfig, seed: int) -> dict[str, Any]:
    """What a video depends on, as JSON gives it back; what is off is not named, as in folders of older versions."""
    fields = {name: value for name, value in asdict(config).items() if value or name not in _OFF}
    return {"renderer": RENDERER, "config": {**fields, "classes": list(config.classes)}, "seed": seed}


def _part_path(video: Path) -> Path:
    return video.parent / _PARTS / f"{video.stem}.json"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return record if isinstance(record, dict) else None


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def end_with_parent() -> None:
    """Initializer of a pool process: a killed parent would otherwise leave it waiting for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a child process only"
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
