"""Writing a folder in the format of DAVIS 2017: JPEG frames and indexed PNG masks of whole sequences."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from tasks.records import Progress, no_progress
from tasks.world.config import WorldConfig
from tasks.world.render import Bytes, render_video

_JPEG_QUALITY = 95


def write_davis(
    folder: Path, config: WorldConfig, seed: int, count: int, progress: Progress = no_progress
) -> list[str]:
    """Write `count` sequences without cuts below `folder`; returns their names.

    `JPEGImages/480p/<sequence>/00000.jpg`, `Annotations/480p/<sequence>/00000.png` (palette PNG, the index is
    the solid's number, 0 the background) and `ImageSets/2017/val.txt`. The folder is called 480p whatever
    the frame's height, as readers of DAVIS expect.
    """
    uncut = replace(config, cut_probability=0.0)
    names = [f"world-{index:03d}" for index in range(count)]
    for index, name in enumerate(names):
        images, masks = (folder / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        for place in (images, masks):
            place.mkdir(parents=True, exist_ok=True)
        for frame in render_video(uncut, seed, index, truth=False):
            image = np.ascontiguousarray(frame.image[..., ::-1])
            path = images / f"{frame.index:05d}.jpg"
            cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            labelled = np.where(
                np.isin(frame.mask, [thing.object for thing in frame.occluders]), np.uint8(0), frame.mask
            )
            (masks / f"{frame.index:05d}.png").write_bytes(indexed_png(labelled))
        progress(index + 1, count, name)
    sets = folder / "ImageSets" / "2017"
    sets.mkdir(parents=True, exist_ok=True)
    (sets / "val.txt").write_text("".join(f"{name}\n" for name in names))
    return names


def indexed_png(mask: Bytes) -> bytes:
    """A palette PNG whose indices are the mask (H, W) uint8; OpenCV writes none. PNG specification, section 11."""
    height, width = mask.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), mask], axis=1)  # filter type 0 before each row
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", _palette().tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _palette() -> Bytes:
    """The (256, 3) colours of VOC and DAVIS: bits of the index, dealt to red, green and blue from the top."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> channel & 1) << (7 - bit)).astype(np.uint8)
        index = index >> 3
    return colours
