"""From pixels to the networks' input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Channel means of the authors' video_mean.binaryproto (96.64 / 102.75 / 107.99 in BGR).
MEAN_RGB = (107.99, 102.75, 96.64)
# About one standard deviation of natural images, so that inputs have unit scale.
SCALE = 64.0


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, minus the channel means, over `SCALE`."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return normalise(pixels)


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """`to_tensor` undone: (B, 3, H, W) floats as networks take them -> (B, H, W, 3) uint8 RGB."""
    mean = torch.tensor(MEAN_RGB, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    pixels = (images * SCALE + mean).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) float32 RGB in 0 to 255 -> the same, minus the channel means, over `SCALE`."""
    mean = torch.tensor(MEAN_RGB, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    return (pixels - mean) / SCALE
