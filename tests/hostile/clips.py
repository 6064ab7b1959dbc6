"""Small clips made with PyAV, of any codec and container, the same bytes at each call."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

Size = tuple[int, int]  # width, height in pixels

_ONE_THREAD = {"threads": "1"}  # else its bytes differ from call to call
# What makes an encoder quick and quiet.
_QUIET: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}
_BITEXACT = {"fflags": "bitexact"}  # no random ids, no time of writing


@functools.cache
def picture(number: int, size: Size = (64, 48)) -> np.ndarray:
    """Frame `number`: (H, W, 3) uint8, a texture of 4-pixel cells that moves 2 pixels a frame to the right."""
    width, height = size
    cells = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    texture = np.kron(cells, np.ones((4, 4, 1), dtype=np.uint8))[:height, :width]
    return np.roll(texture, 2 * number, axis=1)


def clip(
    container: str,
    codec: str,
    pixels: str = "yuv420p",
    num_frames: int = 12,
    size: Size = (64, 48),
    times: Sequence[int] | None = None,
    rate: int = 25,
    codec_options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    sound: str = "",
    rotation: int = 0,
) -> bytes:
    """A clip as bytes. `times`: of each frame, in 1/`rate` s (0, 1, 2, ... where None). `sound`: an audio codec."""
    with tempfile.TemporaryDirectory(prefix="tritrack-hostile-") as folder:
        path = Path(folder) / "clip"
        with av.open(str(path), "w", format=container, options=_BITEXACT | dict(container_options or {})) as output:
            stream = output.add_stream(
                codec, rate=rate, options=dict(_QUIET.get(codec, {})) | dict(codec_options or {})
            )
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = Fraction(1, rate)
            if rotation:
                stream.set_display_rotation(rotation)
            track = output.add_stream(sound, rate=8000) if sound else None
            for number, time in enumerate(times if times is not None else range(num_frames)):
                frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, rate)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
            if track is not None:
                output.mux(track.encode(_silence(num_frames * 320)))
                output.mux(track.encode())
        return path.read_bytes()


def packets(codec: str, pixels: str = "yuv420p", num_frames: int = 12, size: Size = (64, 48)) -> list[bytes]:
    """The encoded frames alone, without a container."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, pixels
    encoder.time_base = Fraction(1, 25)
    encoder.options = {**_ONE_THREAD, **_QUIET.get(codec, {})}
    coded = []
    for number in range(num_frames):
        frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24").reformat(format=pixels)
        frame.pts = number
        coded += [bytes(packet) for packet in encoder.encode(frame)]
    return coded + [bytes(packet) for packet in encoder.encode(None)]


def sound_only(container: str, codec: str, seconds: float = 0.5) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tritrack-hostile-") as folder:
        path = Path(folder) / "sound"
        with av.open(str(path), "w", format=container, options=_BITEXACT) as output:
            track = output.add_stream(codec, rate=8000)
            output.mux(track.encode(_silence(int(8000 * seconds))))
            output.mux(track.encode())
        return path.read_bytes()


def audio_with_cover(container: str) -> bytes:
    """Sound with a cover picture, which is a video stream of one still frame to FFmpeg."""
    codec = {"mp4": "aac", "mp3": "mp3", "flac": "flac"}[container]
    with tempfile.TemporaryDirectory(prefix="tritrack-hostile-") as folder:
        path = Path(folder) / "sound"
        with av.open(str(path), "w", format=container, options=_BITEXACT) as output:
            track = output.add_stream(codec, rate=8000)
            cover = output.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
            cover.disposition = Disposition.attached_pic
            output.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuvj420p")))
            output.mux(track.encode(_silence(4000)))
            output.mux(track.encode())
            output.mux(cover.encode())
        return path.read_bytes()


def _silence(num_samples: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, num_samples), dtype=np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    return frame
