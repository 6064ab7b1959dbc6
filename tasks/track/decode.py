"""Streaming decode of any container: one frame at a time, upright, converted only as far as it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tasks.records import Dropped

# Of a frame, its padding included: a stream may grow after the first frame, which the download looked at.
_MAX_PIXELS = 100_000_000
_OPEN_OPTIONS = {"protocol_whitelist": "file"}  # a play list among the videos must not fetch anything


@dataclass(frozen=True)
class DecodedFrame:
    """One frame, upright: rotation metadata is applied to `width`, `height` and to every array.

    `index` counts decoded frames from 0; `seconds` is the presentation time from the first frame on.
    """

    index: int
    seconds: float
    width: int
    height: int
    _quarter_turns: int
    _source: av.VideoFrame
    _reformatter: VideoReformatter

    def rgb(self) -> np.ndarray:
        """The source pixels: (H, W, 3) uint8 RGB."""
        return self._convert(self.width, self.height, "rgb24")

    def scaled_rgb(self, width: int, height: int) -> np.ndarray:
        """The frame at another size: (height, width, 3) uint8 RGB."""
        return self._convert(width, height, "rgb24")

    def scaled_grey(self, width: int, height: int) -> np.ndarray:
        """The frame's luminance at another size: (height, width) uint8, full range."""
        return self._convert(width, height, "gray")

    def _convert(self, width: int, height: int, pixel_format: str) -> np.ndarray:
        if self._quarter_turns % 2:
            width, height = height, width
        converted = self._reformatter.reformat(
            self._source, width, height, pixel_format, interpolation="AREA", threads=1
        )
        array: np.ndarray = converted.to_ndarray()
        return np.ascontiguousarray(np.rot90(array, self._quarter_turns))


class VideoDecoder:
    """An open video; iterate over it once. Holds one frame at a time, on one thread.

    `fps` is the average rate (0 where the container does not say), `num_frames_claimed` what its header says
    (0: nothing). After iteration `stopped` holds the words of the error that ended decoding early, else "".
    Errors before the first frame are skipped, since a stream may begin in the middle of a group of pictures.
    """

    def __init__(self, path: Path) -> None:
        """Raises Dropped (poison): `unreadable` with FFmpeg's own words, or `no_video_stream`."""
        self._container = _open_container(path)
        self._stream = _video_stream(self._container)
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        self.fps = float(self._stream.average_rate or 0)
        self.num_frames_claimed = self._stream.frames
        self.stopped = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Frames in presentation order. Raises Dropped (poison, `unreadable`) where not one can be decoded."""
        reformatter, first_seconds, index = VideoReformatter(), None, 0
        for source in self._decode():
            seconds = source.time if source.time is not None else (index / self.fps if self.fps else 0.0)
            first_seconds = seconds if first_seconds is None else first_seconds
            turns = round(source.rotation / 90) % 4  # anti-clockwise, as in numpy.rot90
            width, height = (source.height, source.width) if turns % 2 else (source.width, source.height)
            yield DecodedFrame(index, seconds - first_seconds, width, height, turns, source, reformatter)
            index += 1
        if index == 0:
            raise Dropped("poison", "unreadable", self.stopped or "the video stream holds no frame")

    def _decode(self) -> Iterator[av.VideoFrame]:
        num_decoded, packets = 0, _packets(self._container, self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.FFmpegError as error:
                self.stopped = self.stopped or _words(error)
                if num_decoded or not _is_bad_data(error):
                    return
                continue
            if packet is None:
                return
            for frame in frames:
                if num_decoded == 0:
                    self.stopped = ""
                num_decoded += 1
                yield frame


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    # After the last packet PyAV 18 looks for streams that appeared within the file and are not in its own list.
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


def _open_container(path: Path) -> InputContainer:
    # "file:" keeps a path with a colon in it from being read as another protocol.
    try:
        container: InputContainer = av.open(f"file:{path}", options=dict(_OPEN_OPTIONS), metadata_errors="replace")
    except FileNotFoundError:
        raise
    except av.FFmpegError as error:
        raise Dropped("poison", "unreadable", _words(error)) from error
    return container


def _video_stream(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures; the cover picture of an audio file is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    kinds = ", ".join(stream.type or "unknown" for stream in container.streams) or "none"
    container.close()
    raise Dropped("poison", "no_video_stream", f"streams in the file: {kinds}")


def _is_bad_data(error: av.FFmpegError) -> bool:
    return isinstance(error, av.error.InvalidDataError)


def _words(error: av.FFmpegError) -> str:
    logged = f" ({error.log[2].strip()})" if error.log else ""
    return f"{error.strerror}{logged}"
