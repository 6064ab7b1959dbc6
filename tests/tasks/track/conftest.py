"""Synthetic videos with known motion, written with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

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


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Writes RGB frames ((H, W, 3) uint8) to a video file: (name, frames, codec, pixel_format, times) to its path."""

    def write(
        name: str,
        frames: Sequence[np.ndarray],
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        times: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
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
        return path

    return write
