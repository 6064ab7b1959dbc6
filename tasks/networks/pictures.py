"""Image files as networks take them, read without trust: the header's size is judged before a pixel is decoded."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from tasks.jpeg import jpeg_size
from tasks.networks import IMAGE_ENDINGS

_BYTES_A_PIXEL = 8  # 16-bit RGBA; what is longer than so is no image of that many pixels
_HEAD_BYTES = 30  # as far as the size of all but JPEG stands


class Unreadable(Exception):
    """A file that gives no image; the message is why, in a few words."""


@dataclass(frozen=True)
class Picture:
    """One image file. `width` and `height` are those of the whole image as it is seen, after its EXIF orientation;
    `pixels`: (side, side, 3) uint8 RGB, its middle square."""

    path: str
    width: int
    height: int
    pixels: npt.NDArray[np.uint8]


def find_images(places: Iterable[str | Path]) -> list[str]:
    """The image files that are named, in the order given: a file whatever its ending, a folder's images at any depth
    by their endings and sorted by path. Each path stands once.

    Links to folders are not followed. Raises ValueError, in one line, for what does not exist, for what is no file,
    and for a folder without images.
    """
    found: dict[str, None] = {}
    for place in map(str, places):
        if os.path.isdir(place):
            inside = sorted(_walk(place))
            if not inside:
                raise ValueError(f"images: folder {place!r} holds no {', '.join(IMAGE_ENDINGS)} file")
            found |= dict.fromkeys(inside)
        elif os.path.isfile(place):
            found[place] = None
        else:
            what = "is no file and no folder" if os.path.lexists(place) else "does not exist"
            raise ValueError(f"images: {place!r} {what}; give image files or folders of them")
    return list(found)


def read_picture(path: str, side_px: int, max_pixels: int) -> Picture:
    """The middle square of an image, scaled to `side_px`. Raises Unreadable, for whatever keeps it from being one."""
    with sound_image(path, max_pixels) as file:
        data = file.read()
    width, height, pixels = decode_square(data, side_px)
    return Picture(path, width, height, pixels)


def decode_square(data: bytes, side_px: int) -> tuple[int, int, npt.NDArray[np.uint8]]:
    """Width and height of an image whose header was judged, and its middle square, as of `Picture`.

    Raises Unreadable where it does not decode.
    """
    image = decode_image(data, cv2.IMREAD_COLOR_RGB)
    height, width = image.shape[:2]
    kept = min(height, width)
    top, left = (height - kept) // 2, (width - kept) // 2
    return width, height, squeezed(image[top : top + kept, left : left + kept], side_px)


def decode_image(data: bytes, flags: int) -> npt.NDArray[Any]:
    """The pixels of an image whose header was judged, as OpenCV's `flags` have them.

    Raises Unreadable where it does not decode.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise Unreadable(f"does not decode: {first_line(error)}") from error
    if image is None:
        raise Unreadable("does not decode: damaged, or cut short")
    return np.asarray(image)


def squeezed(image: npt.NDArray[np.uint8], side_px: int) -> npt.NDArray[np.uint8]:
    """The whole image (H, W, 3) as a square of `side_px`, whatever its shape."""
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) >= side_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side_px, side_px), interpolation=interpolation), np.uint8)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def sound_image(path: str, max_pixels: int) -> Iterator[BinaryIO]:
    """An image file, open at its start, whose header is sound and within bounds. Raises Unreadable for any other."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise Unreadable("its name is no UTF-8") from error
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("no file")
            width, height = header_size(file)
            if not width or not height:
                raise Unreadable(f"has no pixels, its header says {width} x {height}")
            if width * height > max_pixels:
                raise Unreadable(f"too large, {width} x {height} px is over {max_pixels:,}")
            if status.st_size > max_pixels * _BYTES_A_PIXEL:
                raise Unreadable(f"too large, {status.st_size:,} bytes")
            file.seek(0)
            yield file
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def header_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height as the header of a JPEG, PNG, WebP or BMP file states them, before any orientation.

    Raises Unreadable where the file is none of these or ends inside its header.
    """
    head = file.read(_HEAD_BYTES)
    try:
        if head[:3] == b"\xff\xd8\xff":
            if size := jpeg_size(file):
                return size
            raise Unreadable("no JPEG image, it has no frame header")
        if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR":
            width, height = _numbers(">II", head[16:24])
            return width, height
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp_size(head)
        if head[:2] == b"BM":
            short = _numbers("<I", head[14:18])[0] == 12  # OS/2's header
            width, height = _numbers("<HH", head[18:22]) if short else _numbers("<ii", head[18:26])
            return abs(width), abs(height)  # a negative height: rows from the top
    except struct.error as error:
        raise Unreadable("ends inside its header") from error
    raise Unreadable("no JPEG, PNG, WebP or BMP image" if head else "an empty file")


def _walk(folder: str) -> Iterator[str]:
    for inside, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(inside, name)
            if name.lower().endswith(IMAGE_ENDINGS) and os.path.isfile(path):
                yield path


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        low = _numbers("<HBHB", head[24:30])
        return (low[0] | low[1] << 16) + 1, (low[2] | low[3] << 16) + 1
    if kind == b"VP8L":
        (bits,) = _numbers("<I", head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = _numbers("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise Unreadable("no WebP image, it has no frame header")


def _numbers(shape: str, data: bytes) -> tuple[int, ...]:
    return struct.unpack(shape, data)
