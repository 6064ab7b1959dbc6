"""Context crops: square JPEGs around a box, cut from the source frame, so that no later stage decodes video."""

from __future__ import annotations

import cv2
import numpy as np

CONTEXT = 1.5  # the crop's side in sides of the box: room for random crops and for later margins
_MAX_SIDE_PX = 512
_JPEG_QUALITY = 92


def context_crop(rgb: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """What lies around `box` (x, y, width, height in source px): (S, S, 3) uint8, as `rgb` (H, W, 3).

    The crop's side is `CONTEXT` times the box's larger side, to the nearest pixel, scaled down to 512 px where
    it is larger. What lies outside the frame is the frame reflected (the edge row not repeated).
    """
    x, y, width, height = box
    side = max(1, round(CONTEXT * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    rows = reflected_indices(top, side, rgb.shape[0])
    columns = reflected_indices(left, side, rgb.shape[1])
    crop: np.ndarray = rgb.take(rows, axis=0).take(columns, axis=1)
    if side > _MAX_SIDE_PX:
        crop = cv2.resize(crop, (_MAX_SIDE_PX, _MAX_SIDE_PX), interpolation=cv2.INTER_AREA)
    return crop


def jpeg(crop: np.ndarray) -> bytes:
    """A crop (S, S, 3) uint8 RGB as it is stored."""
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded, "a uint8 picture encodes as JPEG"
    return bytes(data.tobytes())


def reflected_indices(start: int, count: int, length: int) -> np.ndarray:
    """Indices start .. start + count - 1 folded into 0 .. length - 1 as BORDER_REFLECT_101 does: (count,) int."""
    if length == 1:
        return np.zeros(count, np.int64)
    period = 2 * (length - 1)
    folded = np.arange(start, start + count) % period
    return np.where(folded < length, folded, period - folded)
