"""Detections drawn on their images, for the report."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa

from tasks.evaluate.pictures import Picture, resized

SHOWN_IMAGES = 8
_BEST = 5  # detections of an image that are drawn
_WIDTH_PX = 320
_TRUTH = (255, 255, 255)

DRAWN_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("features", pa.string()),  # whose detections are drawn
        ("jpeg", pa.binary()),  # the best detections in the colours of their classes, over the objects in white
    ]
)

Edges = tuple[float, float, float, float]  # left, top, right, bottom, px of the image


def draw_detections(image: Picture, truths: Sequence[Edges], found: Sequence[tuple[float, str, Edges]]) -> Picture:
    """The image at a bounded width, its objects in white, and the best of `found` (score, class, edges) with words."""
    picture, scale = resized(image, _WIDTH_PX)
    canvas = np.ascontiguousarray(picture)
    for truth in truths:
        _box(canvas, truth, scale, _TRUTH, 1)
    for score, name, edges in sorted(found, key=lambda each: -each[0])[:_BEST][::-1]:
        colour = _colour(name)
        _box(canvas, edges, scale, colour, 2)
        place = (round(edges[0] * scale) + 3, max(12, round(edges[1] * scale) + 12))
        for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
            words = f"{name} {score:.2f}"
            cv2.putText(canvas, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, shade, thickness, cv2.LINE_AA)
    return canvas


def _box(canvas: Picture, edges: Edges, scale: float, colour: tuple[int, int, int], thickness: int) -> None:
    left, top, right, bottom = (round(scale * each) for each in edges)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, thickness, cv2.LINE_AA)


def _colour(name: str) -> tuple[int, int, int]:
    """A bright colour (RGB) that the class's name decides, the same in every picture."""
    hue = zlib.crc32(name.encode()) % 180
    colour = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(colour[0]), int(colour[1]), int(colour[2])
