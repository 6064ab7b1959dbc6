"""Copies of a video, as they are found on the web: encoded again, reframed, trimmed; and how their frames look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tasks.track.config import TrackConfig
from tasks.track.decode import VideoDecoder
from tasks.track.frames import working_frame
from tasks.track.signature import Look, SignatureSampler, look_at

_QSCALE = 10
_PEER_FRAMES = 8


@dataclass(frozen=True)
class Copy:
    """One kind of copy: what is done to each picture ((H, W, 3) uint8 RGB), and how it is encoded."""

    change: Callable[[np.ndarray], np.ndarray] = lambda picture: picture
    codec: str = "libx264"
    crf: int = 28
    rate: float = 1.0  # of the original's frames a second


@dataclass
class Views:
    """What both kinds of signature need of a video: for each frame its time, our look, and a plain pHash."""

    seconds: list[float] = field(default_factory=list)
    looks: list[Look | None] = field(default_factory=list)
    phashes: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.seconds)

    def part(self, start: int, end: int) -> Views:
        """The frames from `start` to before `end`, as a video of their own."""
        seconds = [second - self.seconds[start] for second in self.seconds[start:end]]
        return Views(seconds, self.looks[start:end], self.phashes[start:end])

    def signature(self) -> str:
        """Ours, as the track stage computes it."""
        sampler = SignatureSampler()
        for seconds, look in zip(self.seconds, self.looks, strict=True):
            sampler.feed(seconds, look)
        return "".join(sampler.signature())

    def plain_signature(self) -> list[int]:
        """The peer's: pHashes of eight frames at even distances, whatever they show."""
        return [self.phashes[int((part + 0.5) * len(self) / _PEER_FRAMES)] for part in range(_PEER_FRAMES)]


def joined(videos: Sequence[Views]) -> Views:
    """One video after the other."""
    whole = Views()
    for views in videos:
        begin = whole.seconds[-1] + 0.04 if whole.seconds else 0.0
        whole.seconds += [begin + second for second in views.seconds]
        whole.looks += views.looks
        whole.phashes += views.phashes
    return whole


def _half(picture: np.ndarray) -> np.ndarray:
    size = picture.shape[1] // 2, picture.shape[0] // 2
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _bars(picture: np.ndarray, rows: int, columns: int, colour: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    return np.asarray(cv2.copyMakeBorder(picture, rows, rows, columns, columns, cv2.BORDER_CONSTANT, value=colour))


def _logo(picture: np.ndarray) -> np.ndarray:
    marked, side = picture.copy(), picture.shape[0] // 8
    marked[side // 2 : side // 2 + side, -side // 2 - 2 * side : -side // 2] = (240, 60, 30)
    return np.asarray(cv2.circle(marked, (picture.shape[1] - side // 2 - side, side), side // 3, (255, 255, 255), -1))


RE_ENCODES: Mapping[str, Copy] = {
    "H.264, CRF 28": Copy(),
    "H.264, CRF 35": Copy(crf=35),
    "H.264, CRF 45": Copy(crf=45),
    "MPEG-4, quality 10": Copy(codec="mpeg4"),
    "half height": Copy(_half),
    "0.6 of the frames": Copy(rate=0.6),
    "grey": Copy(lambda picture: picture.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)),
    "lighter, less contrast": Copy(lambda picture: (picture * 0.8 + 30).astype(np.uint8)),
}
REFRAMINGS: Mapping[str, Copy] = {
    "letterbox, bars of 1/6": Copy(lambda picture: _bars(picture, picture.shape[0] // 6, 0)),
    "pillarbox, bars of 1/6": Copy(lambda picture: _bars(picture, 0, picture.shape[1] // 6)),
    "mirrored": Copy(lambda picture: picture[:, ::-1]),
    "logo in a corner, 3 %": Copy(_logo),
    "coloured border, 5 %": Copy(lambda picture: _bars(picture, *[picture.shape[0] // 20] * 2, (200, 30, 90))),
    "5 % cut off each side": Copy(
        lambda picture: picture[
            picture.shape[0] // 20 : -(picture.shape[0] // 20), picture.shape[1] // 20 : -(picture.shape[1] // 20)
        ]
    ),
}
TRIMMED = "H.264, CRF 28"  # the copy that trims are cut from
TRIMS: Mapping[str, Callable[[int], tuple[int, int]]] = {
    "first 75 %": lambda length: (0, round(0.75 * length)),
    "first 50 %": lambda length: (0, round(0.5 * length)),
    "first 33 %": lambda length: (0, round(length / 3)),
    "first 25 %": lambda length: (0, round(0.25 * length)),
    "middle 50 %": lambda length: (round(0.25 * length), round(0.75 * length)),
    "last 50 %": lambda length: (round(0.5 * length), length),
    "last 25 %": lambda length: (round(0.75 * length), length),
    "without the first 3 frames": lambda length: (3, length),
    "without the first 7 frames": lambda length: (7, length),
}
MIN_FRAMES = TrackConfig().gap_frames + 1  # shorter videos are dropped by the track stage


def trims(views: Views) -> dict[str, Views]:
    """Every trim that is long enough to be tracked."""
    ranges = {name: cut(len(views)) for name, cut in TRIMS.items()}
    return {name: views.part(*cut) for name, cut in ranges.items() if cut[1] - cut[0] >= MIN_FRAMES}


def views_of(path: Path) -> Views:
    """Decode a video as the track stage does and look at every frame."""
    views = Views()
    with VideoDecoder(path) as decoder:
        for frame in decoder:
            grey = working_frame(frame, TrackConfig().working_height_px, False).grey
            views.seconds.append(frame.seconds)
            views.looks.append(look_at(grey))
            views.phashes.append(_phash(grey))
    return views


def views_of_copies(path: Path, folder: Path) -> dict[str, Views]:
    """The video's own views ("original") and those of every copy; the copies are made in `folder` and removed."""
    cv2.setNumThreads(1)
    original = views_of(path)
    views = {"original": original}
    steps = [after - before for before, after in pairwise(original.seconds)]
    fps = 1 / max(float(np.median(steps)), 0.005) if steps else 25.0
    for name, copy in {**RE_ENCODES, **REFRAMINGS}.items():
        target = folder / f"{path.stem}-copy.mp4"
        _encode(path, target, copy, fps)
        views[name] = views_of(target)
        target.unlink()
    return views


def _encode(source: Path, target: Path, copy: Copy, fps: float) -> None:
    with ExitStack() as stack:
        decoder = stack.enter_context(VideoDecoder(source))
        container = stack.enter_context(av.open(str(target), "w"))
        stream: Any = None
        due = 0.0
        for frame in decoder:
            if copy.rate < 1 and frame.seconds < due:
                continue
            due += 1 / (fps * copy.rate)
            picture = copy.change(frame.rgb())
            picture = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
            if stream is None:
                stream = _stream(container, copy, fps, picture)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _stream(container: Any, copy: Copy, fps: float, picture: np.ndarray) -> Any:
    options = {"crf": str(copy.crf), "preset": "superfast"} if copy.codec == "libx264" else {}
    stream = container.add_stream(copy.codec, rate=max(1, round(fps * copy.rate)), options=options)
    stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
    stream.codec_context.thread_count = 1
    if copy.codec == "mpeg4":
        stream.codec_context.flags |= av.codec.context.Flags.qscale
        stream.codec_context.global_quality = _QSCALE * 118  # FF_QP2LAMBDA
    return stream


def _phash(grey: np.ndarray) -> int:
    """The peer's hash, as in the imagehash package: the lowest 8 x 8 frequencies against their median."""
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
