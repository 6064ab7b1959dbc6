"""Augmentation: crop, mirror and blur while decoding, colour on whole batches; every draw comes with its sample.

Shapes: B images, C draws an image.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tasks.train.randomness import AUGMENT, uniforms

Augment = Literal["mirror", "crop", "colour", "blur"]

# Columns of the draws.
_MIRROR, _SIDE, _LEFT, _TOP, _BRIGHTNESS, _CONTRAST, _SATURATION, _RED, _GREEN, _BLUE, _GREY = range(11)
_BLURRED, _SIGMA = 11, 12
NUM_DRAWS = 13

_JITTER = 0.4  # brightness, contrast and saturation change by up to this share
_CHANNEL_JITTER = 0.2
_GREY_SHARE = 0.2
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_MIDDLE = 127.5
# Half of the images, sigma 0.1 to 2 px at 224 px, as SimCLR (Chen et al., ICML 2020); here as shares of the side.
_BLUR_SHARE = 0.5
_SMALLEST_SIGMA, _LARGEST_SIGMA = 0.1 / 224, 2.0 / 224


def augment_draws(seed: int, epochs: ArrayLike, pairs: ArrayLike, view: int) -> NDArray[np.float64]:
    """(B, C) float64 in [0, 1): what changes view 0 (anchor) or 1 (positive) of each pair in its epoch."""
    columns = np.arange(NUM_DRAWS)[None]
    return uniforms(AUGMENT, seed, np.asarray(epochs)[:, None], np.asarray(pairs)[:, None], view, columns)


def decode_patch(
    jpeg: bytes, draws: NDArray[np.float64], augment: Augment, smallest_crop: float, margin: float, side_px: int
) -> NDArray[np.uint8]:
    """The bytes of an image -> (side_px, side_px, 3) uint8 RGB, cropped, mirrored and blurred by its draws (C,).

    "mirror" takes the tracked box, which is the stored crop's middle, 1 / `margin` of its side; the others a square
    of `smallest_crop` to 1 of the shorter side at a random place. Raises ValueError for bytes that are no image.
    """
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError(f"a stored patch of {len(jpeg)} bytes is no JPEG image")
    height, width = decoded.shape[:2]
    stored = min(height, width)
    if augment == "mirror":
        side, left, top = round(stored / margin), 0.5, 0.5
    else:
        side = max(1, round(stored * (smallest_crop + (1 - smallest_crop) * draws[_SIDE])))
        left, top = draws[_LEFT], draws[_TOP]
    x, y = int(left * (width - side + 1)), int(top * (height - side + 1))
    patch = decoded[y : y + side, x : x + side]
    if side != side_px:
        shrinks = side > side_px
        patch = cv2.resize(patch, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if augment == "blur" and draws[_BLURRED] < _BLUR_SHARE:
        sigma = side_px * (_SMALLEST_SIGMA + (_LARGEST_SIGMA - _SMALLEST_SIGMA) * draws[_SIGMA])
        patch = cv2.GaussianBlur(patch, (0, 0), sigma)
    result: NDArray[np.uint8] = patch[:, ::-1] if draws[_MIRROR] < 0.5 else patch
    return result


def change_colours(pixels: torch.Tensor, draws: NDArray[np.float64], augment: Augment) -> torch.Tensor:
    """(B, 3, H, W) float32 RGB in 0 to 255 -> the same, with the colours of each image changed by its draws (B, C).

    Saturation or grey, gains of the channels, contrast about mid-grey and brightness are one affine map of
    RGB an image, so that a batch costs one matrix product.
    """
    if augment not in ("colour", "blur"):
        return pixels
    matrices, offsets = _colour_maps(draws)
    matrix = torch.from_numpy(matrices).to(pixels)
    offset = torch.from_numpy(offsets).to(pixels)
    # (B, 3, 3) x (B, 3, H W) as nine scaled planes: far quicker on a CPU than a batch of thin products.
    planes = [
        matrix[:, row, 0, None, None] * pixels[:, 0]
        + matrix[:, row, 1, None, None] * pixels[:, 1]
        + matrix[:, row, 2, None, None] * pixels[:, 2]
        + offset[:, row, None, None]
        for row in range(3)
    ]
    return torch.stack(planes, dim=1).clamp_(0, 255)


def _colour_maps(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, C) draws -> matrices (B, 3, 3) and offsets (B, 3) of y = M x + o."""
    jitter = _JITTER * (2 * draws[:, [_BRIGHTNESS, _CONTRAST, _SATURATION]] - 1)
    saturation = np.where(draws[:, _GREY] < _GREY_SHARE, 0.0, 1 + jitter[:, 2])[:, None, None]
    gains = 1 + _CHANNEL_JITTER * (2 * draws[:, [_RED, _GREEN, _BLUE]] - 1)
    contrast = 1 + jitter[:, 1]
    matrices = saturation * np.eye(3) + (1 - saturation) * np.broadcast_to(_LUMA, (3, 3))
    matrices = contrast[:, None, None] * gains[:, :, None] * matrices
    offsets = (1 - contrast) * _MIDDLE + jitter[:, 0] * _MIDDLE
    return matrices, np.repeat(offsets[:, None], 3, axis=1)
