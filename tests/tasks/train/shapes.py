"""Folders of labelled images of any size: coloured shapes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("ball", "bar", "ring")


def write_shapes(folder: Path, images: int = 8, seed: int = 0) -> Path:
    """So many images a class below `folder`, as JPEG and PNG, wide and high ones, some in a subfolder."""
    random = np.random.default_rng(seed)
    for label in CLASSES:
        for number in range(images):
            path = folder / label / ("more" if number % 3 == 2 else "") / f"{number:03d}{('.jpg', '.png')[number % 2]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), _draw(label, random))
    return folder


def _draw(label: str, random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    height, width = (int(side) for side in random.integers(48, 90, 2))
    image = random.integers(0, 90, (height, width, 3)).astype(np.uint8)
    centre, size = (width // 2 + int(random.integers(-6, 7)), height // 2 + int(random.integers(-6, 7))), 16
    colour = [int(value) for value in random.integers(150, 256, 3)]
    if label == "bar":
        corner = (centre[0] - 22, centre[1] - 5)
        cv2.rectangle(image, corner, (centre[0] + 22, centre[1] + 5), colour, -1)
    else:
        cv2.circle(image, centre, size, colour, -1 if label == "ball" else 4)
    return image
