"""The size of a JPEG as its frame header states it, found without decoding."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_MOST_SEGMENTS = 10_000  # before the frame header; an ICC profile of 16 MB takes 255
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers SOF0 to SOF15
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length


def jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height, before any orientation; None where there is no frame header.

    Skips the segments before it without reading what they hold. Raises struct.error where the file ends among them.
    """
    file.seek(2)  # past the marker of every JPEG's start
    for _ in range(_MOST_SEGMENTS):
        filler = file.read(1)
        if filler != b"\xff":
            break
        marker = filler
        while marker == b"\xff":  # any number of fill bytes
            marker = file.read(1)
        if marker and marker[0] in _BARE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker and marker[0] in _FRAMES:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return width, height
        if length < 2:
            break
        file.seek(length - 2, os.SEEK_CUR)
    return None
