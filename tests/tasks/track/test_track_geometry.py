"""Boxes and crops against known truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.track.boxes import Box, box_iou, square, visible_share
from tasks.track.crops import context_crop, jpeg, reflected_indices
from tests.tasks.track.conftest import textured

whole = st.integers(-20, 60)
side = st.integers(1, 40)
boxes = st.builds(Box, whole, whole, side, side)


def painted(box: Box) -> np.ndarray:
    canvas = np.zeros((140, 140), bool)
    x, y = int(box.x) + 20, int(box.y) + 20
    canvas[y : y + int(box.height), x : x + int(box.width)] = True
    return canvas


@given(boxes, boxes)
def test_iou_is_that_of_counted_pixels(one: Box, other: Box) -> None:
    first, second = painted(one), painted(other)
    assert box_iou(one, other) == pytest.approx((first & second).sum() / (first | second).sum())


@given(boxes)
def test_the_visible_share_is_that_of_counted_pixels(box: Box) -> None:
    seen = painted(box)[20:50, 20:70].sum()
    assert visible_share(box, 50, 30) == pytest.approx(seen / (box.width * box.height))


def test_a_square_lies_at_its_corner_and_a_box_about_its_centre() -> None:
    assert square(1, 2, 5) == Box(1, 2, 5, 5)
    assert Box(1, 2, 4, 10).centre == (3, 7)


@given(st.integers(-300, 300), st.integers(1, 80), st.integers(1, 40))
def test_reflection_is_opencvs(start: int, count: int, length: int) -> None:
    expected = [cv2.borderInterpolate(at, length, cv2.BORDER_REFLECT_101) for at in range(start, start + count)]
    assert reflected_indices(start, count, length).tolist() == expected


def test_a_crop_holds_the_box_and_its_context_in_colour() -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[60:100, 100:140] = (200, 40, 90)
    crop = cv2.imdecode(np.frombuffer(jpeg(context_crop(frame, (100, 60, 40, 40))), np.uint8), cv2.IMREAD_COLOR)
    assert crop.shape == (60, 60, 3)
    assert np.abs(crop[30, 30].astype(int) - (90, 40, 200)).max() < 12
    assert crop[4:6, 4:6].max() < 12


def test_a_crop_at_the_corner_is_reflected_and_a_large_one_is_scaled() -> None:
    frame = textured(6, 900, 1000).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    corner = cv2.imdecode(np.frombuffer(jpeg(context_crop(frame, (0, 0, 40, 40))), np.uint8), cv2.IMREAD_GRAYSCALE)
    expected = cv2.copyMakeBorder(frame[:, :, 0], 10, 0, 10, 0, cv2.BORDER_REFLECT_101)[:60, :60]
    assert np.abs(corner.astype(int) - expected).mean() < 3
    large = cv2.imdecode(np.frombuffer(jpeg(context_crop(frame, (100, 100, 600, 600))), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert large.shape == (512, 512)
