"""Reading a PASCAL VOC devkit (such as VOCdevkit/VOC2007): its splits, annotations and images; all are untrusted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import numpy as np
from defusedxml.ElementTree import parse
from numpy.typing import NDArray

from tasks.networks import MAX_PIXELS

CONTEXT = 1.2  # the square's side over the box's longer side: the object with a rim of its surroundings

_NAME = re.compile(r"\w[\w -]*")  # a class becomes a folder
_IMAGE = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Box:
    """One object of an image: the class, and (left, top, right, bottom) in px from 0, the ends left out."""

    name: str
    edges: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """What is told of an image: its size in px, and its objects."""

    width: int
    height: int
    boxes: list[Box]


def image_names(devkit: Path, split: str) -> list[str]:
    """The images of a split, sorted, each once. `devkit` holds Annotations, ImageSets/Main and JPEGImages.

    Raises ValueError, in one line that names the splits there are, where this one cannot be read or is strange.
    """
    path = devkit / "ImageSets" / "Main" / f"{split}.txt"
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"voc: {str(path)!r} cannot be read; give a folder with Annotations, ImageSets and JPEGImages, "
            f"such as VOCdevkit/VOC2007, and one of its splits{_told_splits(path.parent)}"
        ) from error
    if strange := [word for word in words if not _IMAGE.fullmatch(word)]:
        raise ValueError(f"voc: {str(path)!r} names {strange[0]!r}, which is no image")
    return sorted(set(words))


def read_annotation(devkit: Path, name: str) -> Annotation:
    """The annotation of an image. Raises ValueError, in one line, where it is none or tells no size."""
    path = devkit / "Annotations" / f"{name}.xml"
    root = _parsed(path)
    width, height = (root.findtext(f"size/{side}", "").strip() for side in ("width", "height"))
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"voc: {str(path)!r} tells no size of its image; restore it from the devkit's archive")
    return Annotation(int(width), int(height), _boxes(root, path))


def read_boxes(path: Path) -> list[Box]:
    """The objects of an annotation. Raises ValueError, in one line, where it is none."""
    return _boxes(_parsed(path), path)


def read_image(devkit: Path, name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: an image as it is stored, whatever its orientation, since boxes are in px of that.

    Raises ValueError, in one line, where it is missing, damaged or too large.
    """
    import cv2

    from tasks.networks.pictures import Unreadable, sound_image

    path = devkit / "JPEGImages" / f"{name}.jpg"
    try:
        with sound_image(str(path), MAX_PIXELS) as file:
            data = np.frombuffer(file.read(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except (Unreadable, cv2.error) as error:
        raise ValueError(f"voc: {str(path)!r} is no image ({str(error).splitlines()[0]})") from error
    if image is None:
        raise ValueError(f"voc: {str(path)!r} is no image (it does not decode)")
    return np.asarray(image, np.uint8)


def cut_square(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """(H, W, 3) -> the square about a box, `CONTEXT` times its longer side, moved to lie within the image; less than a
    square where the image is too small for it."""
    left, top, right, bottom = box.edges
    side = max(right - left, bottom - top) * CONTEXT
    rows = _within((top + bottom) / 2, side, image.shape[0])
    columns = _within((left + right) / 2, side, image.shape[1])
    return image[rows, columns]


def _told_splits(folder: Path) -> str:
    """The splits of a folder, in words; the lists by class, such as `car_test`, are none."""
    splits = sorted(path.stem for path in folder.glob("*.txt") if "_" not in path.stem)
    return f": {', '.join(splits)}" if splits else ""


def _parsed(path: Path) -> Element:
    try:
        with path.open("rb") as file:
            root: Element = parse(file).getroot()
            return root
    except (OSError, ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise _no_annotation(path, error) from error


def _boxes(root: Element, path: Path) -> list[Box]:
    try:
        return list(_objects(root))
    except ValueError as error:
        raise _no_annotation(path, error) from error


def _no_annotation(path: Path, error: Exception) -> ValueError:
    words = next(iter(str(error).splitlines()), type(error).__name__)
    return ValueError(f"voc: {str(path)!r} is no VOC annotation ({words})")


def _objects(root: Element) -> Iterator[Box]:
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


def _within(centre: float, side: float, length: int) -> slice:
    """So many px about a place of an axis, moved to lie between 0 and `length` and cut where they are more."""
    size = min(round(side), length)
    start = min(max(0, round(centre - side / 2)), length - size)
    return slice(start, start + size)
