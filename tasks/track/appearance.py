"""Appearance: small pictures of boxes, and how alike two of them are."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tasks.track.boxes import Box

PATCH_PX = 24
_BLUR_PX = 5  # of the frame, so that a box three times the patch's size is not sampled between its pixels


def appearance_patches(grey: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Boxes of a frame ((H, W) uint8) as patches of zero mean and unit length: (B, 576) float32.

    The frame's edge is replicated. A flat patch is all zero.
    """
    if not boxes:
        return np.zeros((0, PATCH_PX * PATCH_PX), np.float32)
    soft = cv2.GaussianBlur(grey, (_BLUR_PX, _BLUR_PX), 0)
    along = (np.arange(PATCH_PX, dtype=np.float32) + 0.5) / PATCH_PX
    x = np.array([[box.x] for box in boxes], np.float32) + along * np.array([[box.width] for box in boxes], np.float32)
    y = np.array([[box.y] for box in boxes], np.float32) + along * np.array([[box.height] for box in boxes], np.float32)
    shape = (len(boxes), PATCH_PX, PATCH_PX)
    columns = np.broadcast_to(x[:, None, :] - 0.5, shape).reshape(len(boxes), -1)
    rows = np.broadcast_to(y[:, :, None] - 0.5, shape).reshape(len(boxes), -1)
    seen = cv2.remap(soft, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    patches: np.ndarray = seen.reshape(len(boxes), -1).astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    length = np.sqrt(np.vecdot(patches, patches))
    patches *= np.where(length > 1e-3, 1 / np.maximum(length, 1e-3), 0)[:, None]
    return patches


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised cross-correlation of two patches, -1 to 1; 0 where one of them is flat."""
    return float(one @ other)
