"""Drawing on pictures: text, boxes, paths, and squares cut from a frame.

Pictures are (H, W, 3) uint8 RGB. Colours are RGB. Places are in px of the picture, x before y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from storage.root import RootError

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Bright ones, far from each other and from skin, grass and sky, in an order that puts unlike ones side by side.
COLOURS: tuple[Colour, ...] = (
    (255, 209, 26),
    (0, 200, 255),
    (255, 92, 138),
    (120, 230, 80),
    (190, 130, 255),
    (255, 140, 40),
    (0, 220, 170),
    (240, 110, 240),
    (110, 160, 255),
    (215, 235, 120),
)
PAPER: Colour = (24, 25, 29)
PANEL: Colour = (38, 40, 46)
INK: Colour = (232, 232, 236)
FAINT: Colour = (150, 152, 160)
WARNING: Colour = (255, 96, 84)
TEXT_SIZE = 0.42
_TAG_SIZE = 0.38
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OUTLINE: Colour = (16, 16, 20)
_SUBPIXEL_BITS = 4


def blank(width: int, height: int, colour: Colour = PAPER) -> Picture:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def plain(text: str, most: int = 90) -> str:
    """Text from outside as printable ASCII of bounded length: the font has nothing else."""
    safe = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return safe if len(safe) <= most else f"{safe[: most - 3]}..."


def text_width(text: str, size: float = TEXT_SIZE) -> int:
    """Its width in px."""
    return int(cv2.getTextSize(text, _FONT, size, 1)[0][0])


def put_text(canvas: Picture, text: str, x: float, y: float, colour: Colour = INK, size: float = TEXT_SIZE) -> None:
    """One line of text whose base line begins at (x, y)."""
    cv2.putText(canvas, plain(text, len(text)), (round(x), round(y)), _FONT, size, colour, 1, cv2.LINE_AA)


@dataclass(frozen=True)
class Patch:
    """Where a tag lies: left, top, right and bottom in px."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: Patch) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def tag_patch(canvas: Picture, text: str, x: float, y: float, size: float = _TAG_SIZE) -> Patch:
    """The place of a tag whose lower left corner is at (x, y), moved to lie inside the picture."""
    height, width = canvas.shape[:2]
    across, down = text_width(text, size) + 7, round(38 * size)
    left = round(min(max(x, 0), max(0, width - across)))
    bottom = round(min(max(y, down), height))
    return Patch(left, bottom - down, left + across, bottom)


def put_tag(canvas: Picture, text: str, x: float, y: float, colour: Colour, size: float = _TAG_SIZE) -> None:
    """Text on a patch of colour, see `tag_patch`."""
    place = tag_patch(canvas, text, x, y, size)
    cv2.rectangle(canvas, (place.left, place.top), (place.right - 1, place.bottom - 1), colour, cv2.FILLED)
    is_light = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 130
    put_text(canvas, text, place.left + 3, place.bottom - 4, _OUTLINE if is_light else INK, size)


def put_box(canvas: Picture, box: Sequence[float], colour: Colour, thickness: int = 2) -> None:
    """The outline of (x, y, width, height), with a dark rim so that it stands out from any frame."""
    x, y, width, height = box
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    if thickness == 1:
        corners = [(_crisp(x), _crisp(y)) for x, y in corners]
    put_line(canvas, corners, colour, thickness, closed=True)


def put_corners(canvas: Picture, box: Sequence[float], colour: Colour) -> None:
    """The corners of (x, y, width, height): where the box is, with as little of the picture hidden as may be."""
    x, y, width, height = box
    long = max(3.0, 0.16 * min(width, height))
    for right, bottom in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner_x, corner_y = x + right * width, y + bottom * height
        inward_x, inward_y = (-long if right else long), (-long if bottom else long)
        points = [(corner_x + inward_x, corner_y), (corner_x, corner_y), (corner_x, corner_y + inward_y)]
        put_line(canvas, points, colour, 2)


def put_line(
    canvas: Picture, points: Sequence[tuple[float, float]], colour: Colour, thickness: int = 1, *, closed: bool = False
) -> None:
    """A line through points, with a dark rim; nothing for fewer than two."""
    if len(points) < 2:
        return
    fixed = np.round((np.asarray(points, np.float64) - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for ink, width in ((_OUTLINE, thickness + 2), (colour, thickness)):
        cv2.polylines(canvas, [fixed], closed, ink, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def paste(canvas: Picture, picture: Picture, x: int, y: int) -> None:
    """Put a picture's top left corner at (x, y); what does not fit is cut off."""
    height, width = canvas.shape[0] - y, canvas.shape[1] - x
    part = picture[: max(0, height), : max(0, width)]
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part


def cut(rgb: Picture, box: Sequence[float], context: float, side_px: int, *, reflected: bool = True) -> Picture:
    """The square around a box, `context` times its larger side, at (side_px, side_px, 3).

    Placed finer than a pixel, so that a smooth path gives a still picture. What lies outside the frame is the frame
    reflected, as in the stored crops, or else dark.
    """
    x, y, width, height = box
    side = max(1.0, context * max(width, height))
    finer = max(1, math.ceil(side / side_px))  # sampled so often, then averaged
    step = side / (side_px * finer)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]], np.float64)
    size = (side_px * finer, side_px * finer)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REFLECT_101 if reflected else cv2.BORDER_CONSTANT
    seen = cv2.warpAffine(rgb, matrix, size, flags=flags, borderMode=border, borderValue=PANEL)
    return np.asarray(fitted(seen, side_px, side_px), np.uint8)


def cut_box(box: Sequence[float], context: float, side_px: int) -> tuple[float, float, float, float]:
    """Where the box lies in the square that `cut` gives, px of that square."""
    _, _, width, height = box
    scale = side_px / max(1.0, context * max(width, height))
    across, down = width * scale, height * scale
    return (side_px - across) / 2, (side_px - down) / 2, across, down


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """The picture at another size."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = width < picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def decode_crop(jpeg: bytes, side_px: int) -> Picture:
    """A stored crop as (side_px, side_px, 3); raises RootError where it is no JPEG."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise RootError("root: a stored crop is no JPEG image; run tritrack fsck --repair, then run again")
    return fitted(np.ascontiguousarray(image[:, :, ::-1], np.uint8), side_px, side_px)


def picture_jpeg(picture: Picture) -> bytes:
    """The picture as a JPEG file, with the full colour of its thin lines."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 93, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]), options)
    assert encoded, "cv2 encodes any 8-bit picture as JPEG"
    return bytes(data.tobytes())


def _crisp(place: float) -> float:
    """The middle of the pixel, so that a line of one pixel is not smeared over two."""
    return math.floor(place) + 0.5
