"""Probing: whether fetched bytes are a video that FFmpeg decodes, and what kind of one."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tasks.download.failures import dropped
from tasks.records import Dropped

# Containers, not lists: an HLS or concat playlist that poses as a video could make FFmpeg read other files.
_CONTAINERS = (
    "aac,ac3,aiff,amr,apng,asf,avi,caf,dv,dvd,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,"
    "mpegvideo,mjpeg,mxf,nut,obu,ogg,rm,svcd,swf,vob,wav,webm,wtv,yuv4mpegpipe"
)
_MAX_PIXELS = 67_108_864  # 8,192 x 8,192, twice the pixels of 8K UHD
_PADDING_PIXELS = 1 << 24  # what decoders add to a frame's edges: 81 million for 65,535 x 1,024
_MAX_PACKETS = 10_000_000  # 46 hours at 60 frames a second; reading them takes a minute
_FIRST_FRAME_PACKETS = 1_000  # a stream that begins between two key frames has reached one by then
_MAX_FPS = 1_000.0  # above it stands a clock's rate, not that of frames
_MAX_SECONDS = 1e7  # 115 days; above it stands a broken clock
_GEN_PTS = 1  # AVFMT_FLAG_GENPTS in libavformat/avformat.h, which PyAV sets
_TRIM_PACKETS = 1_024
_LOG_LINES = 10
_HEAD_BYTES = 60
_WEB_PAGE = "the file begins with "
# What FFmpeg 8 logs, in libavutil/imgutils.c and libavformat/matroskadec.c.
_PICTURE_SIZE = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)")
_CUT_MATROSKA = "File ended prematurely"

_Log = list[tuple[int, str, str]]  # level, context, text


@dataclass(frozen=True)
class VideoFacts:
    """What kind of video the bytes are.

    `width`, `height`: of the first decoded frame, in pixels, since headers lie; upright, its rotation metadata applied,
    as tracking sees it. `duration_seconds`: from the first packet to the end of the last; where packets bear no times,
    what the container claims, or the packets at `fps`. Duration and rate are 0 where they are unknown or not sane.
    `num_packets`: of the video stream; mostly one a frame. `pixel_format`: FFmpeg's name of it.
    """

    duration_seconds: float
    width: int
    height: int
    fps: float
    codec: str
    container: str
    num_packets: int
    pixel_format: str


def probe_video(path: Path, max_pixels: int = _MAX_PIXELS) -> VideoFacts:
    """Open a file, decode its first frame and read it to its end; raises Dropped (poison) in FFmpeg's own words.

    A file that ends inside a frame is truncated; a header that promises more frames than there are is not. Frames of
    more than `max_pixels` are refused (permanent, `too_many_pixels`), where the header tells before one is allocated,
    and so is a stream of more than 10 million packets (poison, `too_many_packets`), which bounds the time that a file
    of any size takes.
    """
    with _ffmpeg_log() as log:
        try:
            return _open_and_read(path, max_pixels, log)
        except (av.error.FFmpegError, ValueError) as error:
            raise _verdict(_words(error, path, log), max_pixels) from error


def _open_and_read(path: Path, max_pixels: int, log: _Log) -> VideoFacts:
    limit = {"max_pixels": str(max_pixels + _PADDING_PIXELS)}  # of what is allocated, whatever the header claims
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"} | limit
    with av.open(str(path), options=options, metadata_errors="replace") as container:
        stream = _video_stream(container)
        context = stream.codec_context
        _require_size(context.width, context.height, max_pixels)
        context.options = limit
        context.thread_count = 1
        reading, frame = _read_packets(container, stream, log)
        _require_size(frame.width, frame.height, max_pixels)
        fps = _fps(stream, reading)
        is_turned = round(frame.rotation / 90) % 2 == 1
        return VideoFacts(
            duration_seconds=_duration_seconds(container, stream, reading, fps),
            width=frame.height if is_turned else frame.width,
            height=frame.width if is_turned else frame.height,
            fps=fps,
            codec=context.codec.canonical_name,
            container=container.format.name,
            num_packets=reading.num_packets,
            pixel_format=frame.format.name,
        )


def _video_stream(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures that a decoder knows; the demuxer skips all others."""
    # Cover art of a music file is a video stream of one still picture.
    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    chosen: VideoStream | None = next((each for each in streams if each.codec_context is not None), None)
    if chosen is None:
        kinds = ", ".join(f"{each.type} {getattr(each, 'name', 'unknown')}" for each in container.streams)
        lacking = "Unknown codec: no decoder for the" if streams else "no"
        raise ValueError(f"{lacking} video stream in {container.format.name} ({kinds or 'no streams'})")
    for each in container.streams:
        if each is not chosen:
            each.discard = Discard.all
    # It would hold packets back until one of them bears a time: the whole file in memory, at worst.
    container.flags &= ~_GEN_PTS
    return chosen


class _Reading:
    """What the packets of a stream tell: how many there are, over what time, and whether the last one is whole."""

    def __init__(self, stream: VideoStream) -> None:
        self.num_packets = 0
        self.last_is_cut = False
        self._tick_seconds = float(stream.time_base or 0)
        self._first, self._last, self._end = math.inf, -math.inf, -math.inf  # in ticks

    def take(self, packet: Packet[VideoStream]) -> None:
        """Damage before the last packet is the decoder's matter: joined MPEG-TS bears its mark at every joint."""
        self.num_packets += 1
        self.last_is_cut = packet.is_corrupt
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is not None and not packet.is_discard:
            self._first = min(self._first, ticks)
            self._last = max(self._last, ticks)
            self._end = max(self._end, ticks + (packet.duration or 0))

    @property
    def seconds(self) -> float:
        """From the first packet to the end of the last; 0 where they bear no times."""
        if self._first > self._last:
            return 0.0
        ticks = self._end - self._first
        if self._end == self._last and self.num_packets > 1:  # it does not say how long it lasts: as long as the others
            ticks *= self.num_packets / (self.num_packets - 1)
        return ticks * self._tick_seconds


def _read_packets(container: InputContainer, stream: VideoStream, log: _Log) -> tuple[_Reading, VideoFrame]:
    """Read the stream to its end and decode its first frame; raises ValueError or Dropped for what it is not.

    Errors before the first frame are skipped, as tracking does, since a stream may begin between two key frames.
    """
    frame, error, reading = None, None, _Reading(stream)
    for packet in _packets(container, stream):
        if not packet.size:  # the last one, which only flushes the decoder
            continue
        reading.take(packet)
        if frame is None and reading.num_packets <= _FIRST_FRAME_PACKETS:
            try:
                frame = next(iter(stream.decode(packet)), None)
            except av.error.InvalidDataError as refused:
                error = error or refused
        if reading.num_packets % _TRIM_PACKETS == 0:
            log[:] = list(dict.fromkeys(log))[-_LOG_LINES:]
            if reading.num_packets > _MAX_PACKETS:
                raise Dropped("poison", "too_many_packets", f"more than {_MAX_PACKETS:,} packets of video")
    if reading.last_is_cut or any(text.startswith(_CUT_MATROSKA) for _, _, text in log):
        number = reading.num_packets if reading.last_is_cut else reading.num_packets + 1  # Matroska's is held back
        raise ValueError(f"truncated: packet {number} of the video ends before its bytes do")
    frame = frame or next(iter(stream.decode(None)), None)
    if frame is None:
        raise error or ValueError(f"no decodable frame in {container.format.name} ({stream.name})")
    return reading, frame


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    # After the last packet PyAV 18 looks for streams that appeared within the file and are not in its own list.
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


def _fps(stream: VideoStream, reading: _Reading) -> float:
    """What the container says, or what the packets give where that is no rate of frames."""
    claimed = (float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
    counted = reading.num_packets / reading.seconds if reading.seconds else 0.0
    return next((round(rate, 6) for rate in (*claimed, counted) if 0 < rate <= _MAX_FPS), 0.0)


def _duration_seconds(container: InputContainer, stream: VideoStream, reading: _Reading, fps: float) -> float:
    claimed = (
        stream.duration * float(stream.time_base) if stream.duration and stream.time_base else 0.0,
        container.duration / av.time_base if container.duration else 0.0,
    )
    counted = reading.num_packets / fps if fps else 0.0
    seconds = (reading.seconds, *claimed, counted)
    return next((round(each, 6) for each in seconds if 0 < each <= _MAX_SECONDS), 0.0)


@contextlib.contextmanager
def _ffmpeg_log() -> Iterator[_Log]:
    """What FFmpeg logs in this thread, kept from the process's own log."""
    level, skips_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else a text that an earlier file gave is missing
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips_repeated)


def _verdict(words: str, max_pixels: int) -> Dropped:
    """The outcome behind an error's words. Bytes on this disk are poison, even where they say what a site would say."""
    failure = dropped(words)
    is_large = any(int(width) * int(height) > max_pixels for width, height in _PICTURE_SIZE.findall(words))
    if is_large and failure.reason != "truncated":
        return _too_many_pixels(words, max_pixels)
    if failure.kind != "poison":
        return Dropped("poison", "web_page" if _WEB_PAGE in words else "unreadable_container", failure.words)
    return failure


def _words(error: Exception, path: Path, log: _Log) -> str:
    """The error, the distinct lines of its log, and the first bytes where they are text, such as a web page."""
    said = (error.strerror or str(error)) if isinstance(error, av.error.FFmpegError) else str(error)
    told = list(dict.fromkeys(log))[-_LOG_LINES:]
    lines = [f"[{context}] {text.strip()}" if context else text.strip() for _, context, text in told]
    head = b"-"
    with contextlib.suppress(OSError), path.open("rb") as reader:  # where it cannot be read, FFmpeg has said so
        head = reader.read(_HEAD_BYTES)
    if not head:
        lines.append("the file is empty")
    if head.lstrip().startswith(b"<"):
        lines.append(f"{_WEB_PAGE}{head.lstrip().decode('utf-8', 'replace')!r}")
    return "; ".join([said, *dict.fromkeys(lines)])


def _require_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_many_pixels(f"its frames have {width} x {height} pixels", max_pixels)


def _too_many_pixels(words: str, max_pixels: int) -> Dropped:
    told = f"{words}; more than max_pixels = {max_pixels:,}"
    return Dropped("permanent", "too_many_pixels", told, settings=("max_pixels",))
