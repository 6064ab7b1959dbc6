"""A folder of labelled images (`train.images`) cut from the boxes of a PASCAL VOC devkit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.records import no_progress
from tasks.voc import cut_square, image_names, read_boxes, read_image

MIN_SIDE_PX = 16  # a smaller box shows no shape

_JPEG_QUALITY = 95


def cut_boxes(
    devkit: Path,
    split: str,
    out: Path,
    *,
    difficult: bool = False,
    progress: Callable[[int, int, str], None] = no_progress,
) -> tuple[Counter[str], Counter[str]]:
    """Write each box of a split as `<class>/<image>-<number>.jpg` below `out`; returns crops by class, and those left
    out by reason, counted.

    A crop is the square about the box (`cut_square`). Left out are boxes below `MIN_SIDE_PX`, and `difficult` ones
    unless asked for. Equal devkits give equal bytes. Raises ValueError, in one line that names the file, for what is
    missing, damaged or unlike VOC.
    """
    names = image_names(devkit, split)
    kept, left_out = Counter[str](), Counter[str]()
    for done, name in enumerate(names):
        progress(done, len(names), name)
        image: NDArray[np.uint8] | None = None
        for number, box in enumerate(read_boxes(devkit / "Annotations" / f"{name}.xml")):
            left, top, right, bottom = box.edges
            if box.difficult and not difficult:
                left_out["difficult"] += 1
            elif min(right - left, bottom - top) < MIN_SIDE_PX:
                left_out["small"] += 1
            else:
                image = read_image(devkit, name) if image is None else image
                _write(out / box.name / f"{name}-{number}.jpg", cut_square(image, box))
                kept[box.name] += 1
    return kept, left_out


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded, "cv2 encodes any 8-bit image as JPEG"
    path.write_bytes(data.tobytes())
