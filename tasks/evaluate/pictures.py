"""Small pictures: JPEG, data URIs, and tracks drawn on frames."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from storage.root import RootError

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Box = tuple[float, float, float, float]  # x, y, width, height in px

# RGB, by an object's number from 1 on; then from the start again.
_MASK_COLOURS = np.array([(255, 209, 26), (64, 196, 255), (255, 92, 138), (120, 230, 120), (190, 140, 255)], np.uint8)
_TRACK_COLOUR = (255, 209, 26)  # RGB; with the dark outline it stands out from any frame
_OUTLINE_COLOUR = (20, 20, 24)
_SUBPIXEL_BITS = 4


def decode_jpeg(data: bytes) -> Picture:
    """A JPEG file as (H, W, 3) uint8 RGB; raises RootError where it is none."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise RootError("root: a stored crop is no JPEG image; delete its unit and run again")
    return np.asarray(image[:, :, ::-1], np.uint8)


def encode_jpeg(picture: Picture, quality: int = 85) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file."""
    encoded, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert encoded, "cv2 encodes any 8-bit image as JPEG"
    return bytes(data.tobytes())


def data_uri(jpeg: bytes) -> str:
    """A JPEG file as a data: URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def resized(picture: Picture, width_px: int) -> tuple[Picture, float]:
    """The picture scaled down to a width, never up, and the scale."""
    scale = min(1.0, width_px / picture.shape[1])
    if scale == 1:
        return picture, 1.0
    height = max(1, round(picture.shape[0] * scale))
    return np.asarray(cv2.resize(picture, (width_px, height), interpolation=cv2.INTER_AREA), np.uint8), scale


def draw_track(frame: Picture, boxes: Sequence[Box], at: int, width_px: int) -> Picture:
    """A frame with the box of step `at` and the path of the boxes' centres up to it, at a bounded width.

    `boxes`: one a step, in px of the frame as it comes in.
    """
    picture, scale = resized(frame, width_px)
    canvas = np.ascontiguousarray(picture)
    x, y, width, height = (value * scale for value in boxes[at])
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    path = [((x + width / 2) * scale, (y + height / 2) * scale) for x, y, width, height in boxes[: at + 1]]
    for colour, thickness in ((_OUTLINE_COLOUR, 4), (_TRACK_COLOUR, 2)):
        _polyline(canvas, corners, True, colour, thickness)
        if len(path) > 1:
            _polyline(canvas, path, False, colour, thickness)
        centre = _fixed(path[-1:])[0]
        radius = (3 if colour == _TRACK_COLOUR else 4) << _SUBPIXEL_BITS
        cv2.circle(canvas, (int(centre[0]), int(centre[1])), radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas


def draw_masks(frame: Picture, mask: npt.NDArray[np.uint8], width_px: int) -> Picture:
    """A frame with its objects tinted and outlined, at a bounded width; `mask` (H, W): their numbers, 0 for none."""
    canvas = np.array(resized(frame, width_px)[0])
    height, width = canvas.shape[:2]
    small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    inside = small > 0
    colours = _MASK_COLOURS[(small.astype(np.int64) - 1) % len(_MASK_COLOURS)]
    canvas[inside] = canvas[inside] // 2 + colours[inside] // 2
    for number in np.unique(small[inside]):
        outlines, _ = cv2.findContours((small == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        colour = _MASK_COLOURS[(int(number) - 1) % len(_MASK_COLOURS)].tolist()
        cv2.drawContours(canvas, outlines, -1, colour, 1, cv2.LINE_AA)
    return canvas


def _polyline(
    canvas: Picture, points: Sequence[tuple[float, float]], closed: bool, colour: tuple[int, int, int], thickness: int
) -> None:
    cv2.polylines(canvas, [_fixed(points)], closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(points: Sequence[tuple[float, float]]) -> npt.NDArray[np.int32]:
    """Points in OpenCV's fixed-point coordinates, so that lines are placed finer than a pixel."""
    return np.round(np.asarray(points, np.float64) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
