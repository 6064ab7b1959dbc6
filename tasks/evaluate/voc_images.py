"""The images of VOC's splits as benchmarks read them: two splits apart, and what cannot be read left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.records import Progress
from tasks.voc import Box, image_names, read_annotation, read_image

Image = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_log = logging.getLogger(__name__)


def names_apart(devkit: Path, first: str, second: str) -> tuple[list[str], list[str]]:
    """The images of two splits. Raises ValueError, in one line, where one is missing or both hold an image."""
    names, others = image_names(devkit, first), image_names(devkit, second)
    if shared := set(names) & set(others):
        raise ValueError(
            f"voc: splits {first!r} and {second!r} of {str(devkit)!r} share {len(shared):,} images, "
            f"such as {min(shared)}; give two that share none"
        )
    return names, others


def readable_images(
    devkit: Path, names: Sequence[str], progress: Progress, words: str
) -> Iterator[tuple[int, list[Box], Image]]:
    """Place, objects and pixels of each image that can be read; any other is logged."""
    for place, name in enumerate(names):
        progress(place, len(names), words)
        try:
            boxes, image = read_annotation(devkit, name).boxes, read_image(devkit, name)
        except ValueError as error:
            _log.warning("left out: %s", error)
            continue
        yield place, boxes, image
