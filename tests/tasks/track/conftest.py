"""Synthetic videos with known motion, written with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

WriteVideo = Callable[..., Path]


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth noise with corners everywhere: (height, width) float32, 0 to 255."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    low, high = smooth.min(), smooth.max()
    return (smooth - low) / (high - low) * 255


def shifted(texture: np.ndarray, x: float, y: float, scale: float, size: tuple[int, int]) -> np.ndarray:
    """The part of a texture seen through a window: texture point p appears at scale * p + (x, y). uint8."""
    matrix = np.array([[scale, 0, x], [0, scale, y]], np.float32)
    seen = cv2.warpAffine(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def moving_square(num_frames: int, speed: float = 2.0, camera: float = 0.5, side: int = 80) -> list[np.ndarray]:
    """A textured square that runs right over a textured ground under a panning camera: (240, 320, 3) uint8 each.

    In frame t the square's left edge is at 20 + speed * t, its top at 80.
    """
    ground, thing = textured(1, 400, 600), textured(2, side, side)
    frames = []
    for time in range(num_frames):
        frame = shifted(ground, -camera * time - 40, -40, 1, (320, 240))
        x = 20 + speed * time
        matrix = np.array([[1, 0, x], [0, 1, 80]], np.float32)
        seen = cv2.warpAffine(thing, matrix, (320, 240))
        cover = cv2.warpAffine(np.ones_like(thing), matrix, (320, 240))
        mixed = cover * seen + (1 - cover) * frame
        frames.append(np.repeat(np.clip(np.rint(mixed), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    return frames


def crossing_squares(num_frames: int, speed: float = 1.5) -> list[np.ndarray]:
    """Four textured squares of 60 px, two that go right and two that go left, over a pan: (240, 320, 3) uint8 each."""
    ground, things = textured(1, 400, 600), [textured(seed, 60, 60) for seed in (2, 3, 5, 6)]
    frames = []
    for time in range(num_frames):
        grey = shifted(ground, -0.5 * time - 40, -40, 1, (320, 240))
        for number, thing in enumerate(things):
            x = round(20 + speed * time if number % 2 == 0 else 220 - speed * time)
            y = 20 if number < 2 else 150
            grey[y : y + 60, x : x + 60] = np.rint(thing)
        frames.append(np.repeat(grey[:, :, None], 3, axis=2))
    return frames


def turn_metadata(path: Path, turns: int) -> None:
    """Make an MP4 file say that its pictures are to be shown turned by quarters, anti-clockwise."""
    a, b, c, d = {0: (1, 0, 0, 1), 1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[turns]
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44  # the header's transformation matrix, 16.16 fixed point
    path.write_bytes(data[:at] + struct.pack(">9i", *matrix) + data[at + 36 :])


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Write RGB frames ((H, W, 3) uint8) as a video; `times` in 25ths of a second, one a frame by default."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "10"} if codec == "libx264" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 25)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Writes frames to a video file in the test's folder: (name, what `encode` takes) to its path."""

    def write(name: str, frames: Sequence[np.ndarray], **settings: Any) -> Path:
        path = tmp_path / name
        encode(path, frames, **settings)
        return path

    return write
