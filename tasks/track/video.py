"""The track stage for one video: decode it once, mine its tracks, commit them with their counts."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, commit, video_path
from storage.root import Root, RootError
from storage.tables import table_bytes
from tasks.records import REJECTED_SCHEMA, TRACK_SCHEMA, Dropped, Progress, no_progress
from tasks.track.config import TrackConfig
from tasks.track.decode import DecodedFrame, VideoDecoder
from tasks.track.estimators import TORCH_ESTIMATORS
from tasks.track.follow import Follower
from tasks.track.motion import PointEstimator, PointMotion, PointQuery, no_motion
from tasks.track.raft_weights import WEIGHTS_VARIABLE, weights_digest
from tasks.track.rows import RejectedRow, TrackRow
from tasks.track.signature import SignatureSampler, look_at
from tasks.track.tracker import TrackMiner
from tasks.track.variants import describe_estimator, make_estimator, make_follower

_log = logging.getLogger(__name__)

_PROGRESS_FRAMES = 32


@dataclass(frozen=True)
class MinedVideo:
    """What one pass over a video gave: tracks and a sample of the rejected ones, counts and facts for the manifest."""

    rows: list[TrackRow]
    rejected: list[RejectedRow]
    counts: Mapping[str, int]
    facts: Mapping[str, JSON]


def track_video(
    root: Root,
    video: str,
    config: TrackConfig,
    document: KeyDocument,
    progress: Progress = no_progress,
    device: str = "auto",
) -> Manifest:
    """Mine the tracks of a stored video and commit them as one unit: `tracks.parquet` and `rejected.parquet`.

    `video` is the SHA-256 (hex) of its bytes. A video without a track is committed with its counts. Raises
    Dropped (poison) where the bytes are no video (`unreadable`, `no_video_stream`) or too little of it decodes for
    one track (`too_short`), FileNotFoundError where the root does not hold the video, ValueError where the estimator
    cannot work here.
    """
    (tracked,) = track_videos(root, [(video, config)], [document], progress, device)
    if isinstance(tracked, Dropped):
        raise tracked
    return tracked


def track_videos(
    root: Root,
    videos: Sequence[tuple[str, TrackConfig]],
    documents: Sequence[KeyDocument],
    progress: Progress = no_progress,
    device: str = "auto",
) -> list[Manifest | Dropped]:
    """Mine stored videos of one configuration side by side (see `mine_videos`) and commit each as its own unit.

    A video that is dropped is returned as such; other errors are raised as by `track_video`.
    """
    config = videos[0][1]
    assert all(other == config for _, other in videos), "one estimator serves them all"
    variant = documents[0].recipe.variant
    if config.estimator == "raft" and variant["weights"] != weights_digest():
        raise ValueError(f"raft: {WEIGHTS_VARIABLE} of this worker is not the file that the plan was made with")
    device = resolved_device(config.estimator, device)
    started = time.perf_counter()
    with ExitStack() as stack:
        paths = [(stack.enter_context(local_video(root, video)), video) for video, _ in videos]
        mined = mine_videos(paths, config, progress, device)
    seconds = (time.perf_counter() - started) / len(videos)
    return [
        one if isinstance(one, Dropped) else _commit(root, video, one, document, seconds, device)
        for one, (video, _), document in zip(mined, videos, documents, strict=True)
    ]


def _commit(root: Root, video: str, mined: MinedVideo, document: KeyDocument, seconds: float, device: str) -> Manifest:
    manifest = commit(
        root,
        document,
        {
            "tracks.parquet": table_bytes([dict(row) for row in mined.rows], TRACK_SCHEMA),
            "rejected.parquet": table_bytes([dict(row) for row in mined.rejected], REJECTED_SCHEMA),
        },
        counts=mined.counts,
        facts=mined.facts,
        seconds=seconds,
        device=device,
    )
    _log.info("track %s: %d tracks in %d frames, %.1f s", video[:16], len(mined.rows), mined.counts["frames"], seconds)
    return manifest


def mine_video(
    path: Path, video: str, config: TrackConfig, progress: Progress = no_progress, device: str = "cpu"
) -> MinedVideo:
    """Mine a local file in one pass; raises Dropped and ValueError as `track_video` does."""
    (mined,) = mine_videos([(path, video)], config, progress, device)
    if isinstance(mined, Dropped):
        raise mined
    return mined


def mine_videos(
    videos: Sequence[tuple[Path, str]], config: TrackConfig, progress: Progress = no_progress, device: str = "cpu"
) -> list[MinedVideo | Dropped]:
    """Mine local files (path, SHA-256) side by side: one call of the estimator for a frame of every video.

    On a GPU a call costs much the same for one video and for many. Each video's tracks are those that it has alone,
    to the estimator's rounding, and one that is dropped (returned) leaves the others as they are.
    """
    cv2.setNumThreads(1)  # a worker process has one core
    estimator = make_estimator(config.estimator, device)
    passes = [_Pass(path, video, config, estimator, make_follower(config.estimator)) for path, video in videos]
    done = [False] * len(passes)
    while not all(done):
        queries: list[tuple[_Pass, PointQuery[Any] | None]] = []
        for place, one in enumerate(passes):
            if not done[place]:
                done[place] = not one.advance()
                queries += [] if done[place] else [(one, one.query)]
        motions = iter(estimator.follow([query for _, query in queries if query is not None]))
        for one, query in queries:
            one.take(no_motion() if query is None else next(motions))
        _tell(progress, passes)
    _tell(progress, passes, ended=True)
    return [one.result() for one in passes]


def resolved_device(estimator: str, device: str) -> str:
    """The device that the estimator works on; only those of torch ask for one, and pay for its import."""
    if estimator not in TORCH_ESTIMATORS:
        return "cpu"
    import torch

    from tasks.device import resolve_device

    torch.set_num_threads(1)  # a worker process has one core
    return str(resolve_device(device))


class _Pass:
    """One pass over a video: `advance` to the next frame, answer its `query`, `take` the motion; then `result`."""

    def __init__(
        self, path: Path, video: str, config: TrackConfig, estimator: PointEstimator[Any], follower: Follower
    ) -> None:
        self.query: PointQuery[Any] | None = None
        self.num_frames_claimed = 0
        self.miner = TrackMiner(video, config, follower)
        self._config, self._estimator, self._path = config, estimator, path
        self._signature = SignatureSampler()
        self._frames = self._decode()
        self._prepared: Any = None
        self._first: DecodedFrame | None = None
        self._seconds, self._fps, self._stopped = 0.0, 0.0, ""
        self._dropped: Dropped | None = None

    def advance(self) -> bool:
        """Decode the next frame and ask the miner; False where there is none."""
        try:
            frame = next(self._frames, None)
        except Dropped as dropped:
            self._dropped, frame = dropped, None
        if frame is None:
            return False
        self._first = self._first or frame
        self._seconds = frame.seconds
        points = self.miner.ask(frame)
        before, self._prepared = self._prepared, self._estimator.prepare(self.miner.grey)
        relit = self.miner.relit
        following = self._prepared if relit is None else self._estimator.prepare(relit)
        self.query = PointQuery(before, following, points) if len(points) else None
        return True

    def take(self, motion: PointMotion) -> None:
        """The motion that was asked for."""
        self._signature.feed(self._seconds, look_at(self.miner.picture))
        self.miner.take(motion)

    def result(self) -> MinedVideo | Dropped:
        """What the video gave, after its last frame."""
        if self._dropped is not None:
            return self._dropped
        num_frames = self.miner.counts["frames"]
        if words := self._too_short(num_frames):
            words = f"{words}; {self._stopped}" if self._stopped else words
            settings = ("gap_frames", "gap_seconds")
            return Dropped("poison", "too_short", words, settings)
        assert self._first is not None, "a video without a frame was dropped"
        rows = self.miner.finish()
        facts: dict[str, JSON] = {
            "signature": [*self._signature.signature()],
            "frames": num_frames,
            "seconds": round(self._seconds, 6),
            "width": self._first.width,
            "height": self._first.height,
            "fps": round(self._fps, 6),
            "estimator": self._config.estimator,
            "stopped": self._stopped,
            **describe_estimator(self._config.estimator),
        }
        counts = dict(self.miner.counts) | {"decode_errors": int(bool(self._stopped))}
        return MinedVideo(rows, self.miner.rejected(), dict(sorted(counts.items())), facts)

    def _decode(self) -> Iterator[DecodedFrame]:
        with VideoDecoder(self._path) as decoder:
            self._fps, self.num_frames_claimed = decoder.fps, decoder.num_frames_claimed
            yield from decoder
            self._stopped = decoder.stopped

    def _too_short(self, num_frames: int) -> str:
        config = self._config
        if config.gap_seconds:
            short = self._seconds < config.gap_seconds
            return f"{self._seconds:.1f} s decode, a track needs {config.gap_seconds:g} s" if short else ""
        short = num_frames < config.gap_frames + 1
        return f"{num_frames} frames decode, a track needs {config.gap_frames + 1}" if short else ""


def _tell(progress: Progress, passes: Sequence[_Pass], ended: bool = False) -> None:
    frames = sum(one.miner.counts["frames"] for one in passes)
    if ended or frames % _PROGRESS_FRAMES < len(passes):
        claimed = sum(max(one.num_frames_claimed, one.miner.counts["frames"]) for one in passes)
        progress(frames, frames if ended else claimed, f"{sum(len(one.miner.rows) for one in passes)} tracks")


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
