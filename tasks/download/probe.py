"""Probing: whether fetched bytes are a video that FFmpeg decodes, and what kind of one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.stream import Disposition

from tasks.download.failures import dropped

# Containers, not lists: an HLS or concat playlist that poses as a video could make FFmpeg read other files.
_CONTAINERS = (
    "aac,ac3,aiff,amr,apng,asf,avi,caf,dv,dvd,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,"
    "mpegvideo,mjpeg,mxf,nut,obu,ogg,rm,svcd,swf,vob,wav,webm,wtv,yuv4mpegpipe"
)
_LOG_LINES = 10
_HEAD_BYTES = 60
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class VideoFacts:
    """What the container says. 0 where it does not know the duration or the rate."""

    duration_seconds: float
    width: int
    height: int
    fps: float
    codec: str
    container: str


def probe_video(path: Path) -> VideoFacts:
    """Open a file, decode its first frame and read it to its end; raises Dropped (poison) in FFmpeg's own words.

    A file that ends inside a frame is truncated. A header that promises more frames than there are is not.

    The size is the decoded frame's, in pixels, since headers lie.
    """
    with _ffmpeg_log() as log:
        try:
            facts = _open_and_decode(path)
            _require_whole(path)
            return facts
        except (av.error.FFmpegError, ValueError) as error:
            raise dropped(_words(error, path, log)) from error


def _open_and_decode(path: Path) -> VideoFacts:
    with av.open(str(path), options=dict(_OPTIONS), metadata_errors="replace") as container:
        stream = next((each for each in container.streams.video if not _is_cover(each)), None)
        if stream is None:
            kinds = ", ".join(f"{each.type} {each.name}" for each in container.streams) or "no streams"
            raise dropped(f"no video stream in {container.format.name} ({kinds})")
        stream.thread_count = 1
        frame = next(container.decode(stream), None)
        if frame is None:
            raise dropped(f"no decodable frame in {container.format.name} ({stream.name})")
        return VideoFacts(
            duration_seconds=_duration_seconds(container, stream),
            width=frame.width,
            height=frame.height,
            fps=round(float(stream.average_rate or stream.guessed_rate or 0), 6),
            codec=stream.name,
            container=container.format.name,
        )


def _require_whole(path: Path) -> None:
    """Read every packet, without decoding; raises ValueError where FFmpeg got fewer bytes than the container says."""
    with av.open(str(path), options=dict(_OPTIONS), metadata_errors="replace") as container:
        for number, packet in enumerate(container.demux(video=0), 1):
            if packet.is_corrupt:
                raise ValueError(f"truncated: packet {number} of the video ends before its bytes do")


@contextlib.contextmanager
def _ffmpeg_log() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg logs in this thread as (level, context, text), kept from the process's own log."""
    level, skips_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else a text that an earlier file gave is missing
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips_repeated)


def _words(error: Exception, path: Path, log: list[tuple[int, str, str]]) -> str:
    """The error, the distinct lines of its log, and the first bytes where they are text, such as a web page."""
    said = (error.strerror or str(error)) if isinstance(error, av.error.FFmpegError) else str(error)
    lines = [f"[{context}] {text.strip()}" if context else text.strip() for _, context, text in log[-_LOG_LINES:]]
    with path.open("rb") as reader:
        head = reader.read(_HEAD_BYTES)
    if not head:
        lines.append("the file is empty")
    if head.lstrip().startswith(b"<"):
        lines.append(f"the file begins with {head.lstrip().decode('utf-8', 'replace')!r}")
    return "; ".join([said, *dict.fromkeys(lines)])


def _is_cover(stream: av.VideoStream) -> bool:
    """Cover art of a music file is a video stream of one still picture."""
    return bool(stream.disposition & Disposition.attached_pic)


def _duration_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base), 6)
    return round(container.duration / av.time_base, 6) if container.duration is not None else 0.0
