"""Appearance: pictures of boxes, and their correlation against numpy's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tasks.track.appearance import PATCH_PX, appearance_patches, correlation
from tasks.track.boxes import Box, square
from tests.tasks.track.conftest import shifted, textured

GREY = textured(4, 120, 160).astype(np.uint8)


def pictures(grey: np.ndarray, *boxes: Box) -> np.ndarray:
    """What the boxes hold, bilinearly, one row each, by a slow reading of the blurred frame: (B, 576) float64."""
    soft = np.pad(cv2.GaussianBlur(grey, (5, 5), 0).astype(float), 80, mode="edge")
    rows = []
    for box in boxes:
        for row in range(PATCH_PX):
            for column in range(PATCH_PX):
                x = box.x + (column + 0.5) * box.width / PATCH_PX - 0.5 + 80
                y = box.y + (row + 0.5) * box.height / PATCH_PX - 0.5 + 80
                left, top = int(x), int(y)
                right, down = x - left, y - top
                part = soft[top : top + 2, left : left + 2]
                rows.append(np.array([1 - down, down]) @ part @ np.array([1 - right, right]))
    return np.array(rows).reshape(len(boxes), -1)


def test_patches_are_bilinear_readings_of_their_boxes() -> None:
    boxes = [square(30, 20, 24), Box(40.25, 30.5, 60, 36), square(-10.5, 90, 50), square(130, -8, 45.5)]
    patches = appearance_patches(GREY, boxes)
    assert patches.shape == (4, 576)
    assert patches.dtype == np.float32
    for patch, picture in zip(patches, pictures(GREY, *boxes), strict=True):
        assert np.corrcoef(patch, picture)[0, 1] > 0.999
        assert np.linalg.norm(patch) == pytest.approx(1, abs=1e-5)
        assert patch.mean() == pytest.approx(0, abs=1e-6)


def test_correlation_is_numpys() -> None:
    boxes = [square(x, y, 40) for x, y in ((10, 10), (13, 11), (60, 60), (100, 70))]
    patches = appearance_patches(GREY, boxes)
    expected = np.corrcoef(pictures(GREY, *boxes))
    found = np.array([[correlation(one, other) for other in patches] for one in patches])
    assert np.allclose(found, expected, atol=0.01)
    assert np.allclose(np.diag(found), 1, atol=1e-5)
    assert (np.abs(found) < 1 + 1e-5).all()


def test_brightness_and_contrast_do_not_count_but_the_sign_does() -> None:
    box = square(30, 30, 60)
    (patch,) = appearance_patches(GREY, [box])
    (dim,) = appearance_patches(GREY // 2 + 90, [box])
    (negative,) = appearance_patches(255 - GREY, [box])
    assert correlation(patch, dim) == pytest.approx(1, abs=0.01)
    assert correlation(patch, negative) == pytest.approx(-1, abs=0.01)


def test_a_thing_looks_the_same_where_it_went_and_at_another_size() -> None:
    texture = textured(6, 300, 400)
    before, after = shifted(texture, -20, -20, 1, (160, 120)), shifted(texture, -40, -40, 1.5, (160, 120))
    (one,) = appearance_patches(before, [square(20, 20, 40)])
    # Texture point 40 is at 20 in the first frame and at 20 in the second, and all is half as large again.
    (same,), (other,) = (appearance_patches(after, [square(20, 20, side)]) for side in (60, 40))
    assert correlation(one, same) > 0.9 > correlation(one, other)


def test_a_flat_patch_is_like_nothing() -> None:
    flat = np.full((60, 80), 90, np.uint8)
    (patch,) = appearance_patches(flat, [square(10, 10, 30)])
    assert not patch.any()
    (textured_patch,) = appearance_patches(GREY, [square(10, 10, 30)])
    assert correlation(patch, textured_patch) == correlation(patch, patch) == 0


def test_a_patch_does_not_depend_on_those_beside_it() -> None:
    boxes = [square(3 * number, 2 * number, 20 + number) for number in range(20)]
    together = appearance_patches(GREY, boxes)
    for box, patch in zip(boxes, together, strict=True):
        assert np.array_equal(appearance_patches(GREY, [box])[0], patch)
    assert appearance_patches(GREY, []).shape == (0, 576)


def test_as_many_boxes_as_the_settings_allow_are_looked_at() -> None:
    boxes = [square(number % 90, number % 60, 30) for number in range(1500)]
    patches = appearance_patches(GREY, boxes)
    assert np.array_equal(patches[1499], appearance_patches(GREY, boxes[1499:])[0])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 200)])
def test_tiny_frames_have_patches(size: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    assert np.isfinite(appearance_patches(grey, [square(0, 0, 1), square(-5, -5, 8)])).all()
