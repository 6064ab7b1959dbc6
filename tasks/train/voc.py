"""A folder of labelled images (`train.images`) cut from the boxes of a PASCAL VOC devkit; its files are untrusted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import cv2
import defusedxml
import numpy as np
from defusedxml.ElementTree import parse
from numpy.typing import NDArray

from tasks.networks import MAX_PIXELS
from tasks.networks.pictures import Unreadable, sound_image
from tasks.records import no_progress

CONTEXT = 1.2  # the square's side over the box's longer side: the object with a rim of its surroundings
MIN_SIDE_PX = 16  # a smaller box shows no shape

_JPEG_QUALITY = 95
_NAME = re.compile(r"\w[\w -]*")  # a class becomes a folder
_IMAGE = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Box:
    """One object of an image: the class, and (left, top, right, bottom) in px from 0, the ends left out."""

    name: str
    edges: tuple[float, float, float, float]
    difficult: bool


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

    `devkit` holds Annotations, ImageSets/Main and JPEGImages. A crop is the square about the box, `CONTEXT` times its
    longer side, moved and cut to lie within the image. Left out are boxes below `MIN_SIDE_PX`, and `difficult` ones
    unless asked for. Equal devkits give equal bytes. Raises ValueError, in one line that names the file, for what is
    missing, damaged or unlike VOC.
    """
    names = _names(devkit, split)
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
                image = _read_image(devkit / "JPEGImages" / f"{name}.jpg") if image is None else image
                _write(out / box.name / f"{name}-{number}.jpg", cut_square(image, box))
                kept[box.name] += 1
    return kept, left_out


def read_boxes(path: Path) -> list[Box]:
    """The objects of an annotation. Raises ValueError, in one line, where it is none."""
    try:
        with path.open("rb") as file:
            root = parse(file).getroot()
        return list(_boxes(root))
    except (OSError, ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"voc: {str(path)!r} is no VOC annotation ({words})") from error


def cut_square(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """(H, W, 3) -> the square about a box; less than a square where the image is too small for it."""
    left, top, right, bottom = box.edges
    side = max(right - left, bottom - top) * CONTEXT
    rows = _within((top + bottom) / 2, side, image.shape[0])
    columns = _within((left + right) / 2, side, image.shape[1])
    return image[rows, columns]


def _within(centre: float, side: float, length: int) -> slice:
    """So many px about a place of an axis, moved to lie between 0 and `length` and cut where they are more."""
    size = min(round(side), length)
    start = min(max(0, round(centre - side / 2)), length - size)
    return slice(start, start + size)


def _names(devkit: Path, split: str) -> list[str]:
    path = devkit / "ImageSets" / "Main" / f"{split}.txt"
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"voc: {str(path)!r} cannot be read; give a folder with Annotations, ImageSets and JPEGImages, "
            "such as VOCdevkit/VOC2007, and one of its splits"
        ) from error
    if strange := [word for word in words if not _IMAGE.fullmatch(word)]:
        raise ValueError(f"voc: {str(path)!r} names {strange[0]!r}, which is no image")
    return sorted(set(words))


def _boxes(root: Element) -> Iterator[Box]:
    for entry in root.iterfind("object"):
        name = entry.findtext("name", "").strip()
        if not _NAME.fullmatch(name):
            raise ValueError(f"class {name!r}")
        left, top, right, bottom = (
            float(entry.findtext(f"bndbox/{end}", "")) for end in ("xmin", "ymin", "xmax", "ymax")
        )
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise ValueError(f"a box of {name} without numbers")
        # 1-based, with both ends included
        yield Box(name, (left - 1, top - 1, right, bottom), entry.findtext("difficult", "0").strip() == "1")


def _read_image(path: Path) -> NDArray[np.uint8]:
    try:
        with sound_image(str(path), MAX_PIXELS) as file:
            data = np.frombuffer(file.read(), np.uint8)
        # Boxes are in px of the image as it is stored, whatever its orientation.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except (Unreadable, cv2.error) as error:
        raise ValueError(f"voc: {str(path)!r} is no image ({str(error).splitlines()[0]})") from error
    if image is None:
        raise ValueError(f"voc: {str(path)!r} is no image (it does not decode)")
    return np.asarray(image, np.uint8)


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded, "cv2 encodes any 8-bit image as JPEG"
    path.write_bytes(data.tobytes())
