"""The track stage for one video: decode it once, mine its tracks, commit them with their counts."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, commit, video_path
from storage.root import Root, RootError
from storage.tables import table_bytes
from tasks.records import TRACK_SCHEMA, Dropped, Progress, no_progress
from tasks.track.config import TrackConfig
from tasks.track.decode import DecodedFrame, VideoDecoder
from tasks.track.estimators import ESTIMATORS
from tasks.track.signature import SignatureSampler, look_at
from tasks.track.tracker import TrackMiner, TrackRow
from tasks.variants import load_variant

_log = logging.getLogger(__name__)

_PROGRESS_FRAMES = 32


@dataclass(frozen=True)
class MinedVideo:
    """What one pass over a video gave: rows of TRACK_SCHEMA by start frame, counts and facts for the manifest."""

    rows: list[TrackRow]
    counts: Mapping[str, int]
    facts: Mapping[str, JSON]


def track_video(
    root: Root, video: str, config: TrackConfig, document: KeyDocument, progress: Progress = no_progress
) -> Manifest:
    """Mine the tracks of a stored video and commit them as one unit with the file `tracks.parquet`.

    `video` is the SHA-256 (hex) of its bytes. A video without a track is committed with its counts. Raises
    Dropped (poison) where the bytes are no video (`unreadable`, `no_video_stream`) or fewer than
    `gap_frames` + 1 frames decode (`too_short`), FileNotFoundError where the root does not hold the video.
    """
    started = time.perf_counter()
    with local_video(root, video) as path:
        mined = mine_video(path, video, config, progress)
    seconds = time.perf_counter() - started
    manifest = commit(
        root,
        document,
        {"tracks.parquet": table_bytes([dict(row) for row in mined.rows], TRACK_SCHEMA)},
        counts=mined.counts,
        facts=mined.facts,
        seconds=seconds,
    )
    _log.info("track %s: %d tracks in %d frames, %.1f s", video[:16], len(mined.rows), mined.counts["frames"], seconds)
    return manifest


def mine_video(path: Path, video: str, config: TrackConfig, progress: Progress = no_progress) -> MinedVideo:
    """Mine a local file in one pass; raises Dropped as `track_video` does."""
    cv2.setNumThreads(1)  # a worker process has one core
    estimator = load_variant(ESTIMATORS, config.estimator, "estimator")
    miner = TrackMiner(video, config, estimator.follow_points, estimator.make_follower())
    signature = SignatureSampler()
    first: DecodedFrame | None = None
    seconds = 0.0
    with VideoDecoder(path) as decoder:
        for frame in decoder:
            first = first or frame
            seconds = frame.seconds
            signature.feed(frame.seconds, look_at(miner.feed(frame).grey))
            if frame.index % _PROGRESS_FRAMES == 0:
                progress(frame.index, max(decoder.num_frames_claimed, frame.index), f"{len(miner.rows)} tracks")
        num_frames = miner.counts["frames"]
        if first is None or num_frames < config.gap_frames + 1:
            words = f"{num_frames} frames decode, a track needs {config.gap_frames + 1}"
            raise Dropped("poison", "too_short", f"{words}; {decoder.stopped}" if decoder.stopped else words)
    rows = miner.finish()
    progress(num_frames, num_frames, f"{len(rows)} tracks")
    facts: dict[str, JSON] = {
        "signature": [*signature.signature()],
        "frames": num_frames,
        "seconds": round(seconds, 6),
        "width": first.width,
        "height": first.height,
        "fps": round(decoder.fps, 6),
        "estimator": config.estimator,
        "stopped": decoder.stopped,
    }
    counts = dict(miner.counts) | {"decode_errors": int(bool(decoder.stopped))}
    return MinedVideo(rows, dict(sorted(counts.items())), facts)


@contextmanager
def local_video(root: Root, video: str) -> Iterator[Path]:
    """The video as a file on this machine; a remote root's is downloaded and removed again."""
    stored = video_path(video)
    local = root.local_path(stored)
    if local is not None:
        if not local.is_file():
            raise RootError(f"root: {local} is not there; run tritrack fsck --repair, then run again")
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="tritrack-") as folder:
        path = Path(folder) / video
        root.download(stored, path)
        yield path
