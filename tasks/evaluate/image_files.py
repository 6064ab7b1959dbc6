"""Images of outside folders, read without trust: colour, numbers of 16 bits, and masks whose palette index counts."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.networks import MAX_PIXELS
from tasks.networks.pictures import Unreadable, decode_image, first_line, sound_image


def read_colour(path: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as it is stored, whatever its orientation. Raises Unreadable."""
    return np.asarray(_decoded(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)


def read_numbers(path: str) -> npt.NDArray[np.uint8 | np.uint16]:
    """The stored numbers, uint8 or uint16: (H, W), or (H, W, 3) in the order RGB. Raises Unreadable."""
    numbers = _decoded(path, cv2.IMREAD_UNCHANGED)
    if numbers.dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"holds {numbers.dtype}, not uint8 or uint16")
    return numbers if numbers.ndim == 2 else np.ascontiguousarray(numbers[:, :, 2::-1])


def read_indices(path: str) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: the index of each pixel of a palette image, the value of a grey one, 255 where a coloured one is
    not black. Raises Unreadable."""
    with sound_image(path, MAX_PIXELS) as file:
        data = file.read()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "1":
                return np.asarray(image.convert("L"), np.uint8)
            values = np.asarray(image if image.mode in ("P", "L") else image.convert("RGB"))
    # Pillow tells of broken files by all of these.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise Unreadable(f"does not decode: {first_line(error)}") from error
    return np.asarray(values if values.ndim == 2 else 255 * values.any(axis=2), np.uint8)


def _decoded(path: str, flags: int) -> npt.NDArray[Any]:
    with sound_image(path, MAX_PIXELS) as file:
        data = file.read()
    return decode_image(data, flags)
