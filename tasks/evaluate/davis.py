"""Video sequences with masks of their objects, in the layout of DAVIS or as videos beside folders of masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.evaluate.frames import Frame, read_frames
from tasks.evaluate.image_files import read_colour, read_indices
from tasks.networks.pictures import Unreadable

OFFICIAL = 30  # sequences of DAVIS 2017 val
_REMEDY = "name a folder in the format of DAVIS, or leave it empty to run without"
_QUALITY = "480p"  # the official evaluation's
_YEARS = ("2017", "2016")
_NAME = re.compile(r"[\w-]+")
_VOID = 255


@dataclass(frozen=True)
class Sequence:
    """One sequence. `frames`: a folder of images, or a video file. `masks`: the mask's file of each frame by its name,
    in order; that of a video's frame is its number, from 0."""

    name: str
    frames: Path
    masks: dict[str, Path]


@dataclass(frozen=True)
class Step:
    """A frame of a sequence, and its objects by number (H, W) uint8, 0 the background; None where unreadable."""

    name: str
    image: Frame | None
    mask: npt.NDArray[np.uint8] | None


def find_sequences(folder: Path, split: str) -> tuple[list[Sequence], bool]:
    """The sequences of a split, and whether they are all of DAVIS 2017 val.

    `JPEGImages/480p/<sequence>/00000.jpg`, `Annotations/480p/<sequence>/00000.png` and `ImageSets/2017/<split>.txt`
    (or 2016); or `videos/<sequence>.mp4` and `masks/<sequence>/00000.png`, of which all are taken whose names are of
    letters, digits, `_` and `-`. Raises ValueError, in one line, where a folder is neither.
    """
    if (folder / "JPEGImages").is_dir():
        names, listed = _listed(folder, split)
        images, masks = folder / "JPEGImages" / _QUALITY, folder / "Annotations" / _QUALITY
        for place in (images, masks):
            if not place.is_dir():
                raise ValueError(f"evaluate.davis: folder {str(place)!r} is missing; {_REMEDY}")
        found = [Sequence(name, images / name, _masks(masks / name)) for name in names]
        return found, listed == "2017" and split == "val" and len(names) == OFFICIAL
    videos, masks = folder / "videos", folder / "masks"
    if not (videos.is_dir() and masks.is_dir()):
        raise ValueError(
            f"evaluate.davis: {str(folder)!r} holds neither JPEGImages, Annotations and ImageSets nor videos and "
            f"masks; {_REMEDY}"
        )
    files = sorted(path for path in videos.iterdir() if path.is_file() and _NAME.fullmatch(path.stem))
    if not files:
        raise ValueError(f"evaluate.davis: {str(videos)!r} holds no video; {_REMEDY}")
    return [Sequence(path.stem, path, _numbered(_masks(masks / path.stem))) for path in files], False


def read_steps(sequence: Sequence) -> Iterator[Step]:
    """The frames with a mask, in order, one at a time.

    Where the first mask has no other number than 255, as in DAVIS 2016, that is its object; beside others it is void,
    and counts as background.
    """
    single: bool | None = None
    for name, image, path in _frames(sequence):
        try:
            mask = read_indices(str(path))
        except Unreadable:
            yield Step(name, image, None)
            continue
        if single is None:
            single = not np.any((mask > 0) & (mask < _VOID))
        yield Step(name, image, np.where(mask == _VOID, np.uint8(single), mask))


def _frames(sequence: Sequence) -> Iterator[tuple[str, Frame | None, Path]]:
    if sequence.frames.is_dir():
        for name, path in sequence.masks.items():
            yield name, _image(sequence.frames, name), path
        return
    numbers = {int(name): name for name in sequence.masks}
    waiting = iter(sorted(numbers))
    for number, image in read_frames(sequence.frames, numbers):
        for missing in waiting:
            if missing == number:
                break
            yield numbers[missing], None, sequence.masks[numbers[missing]]
        yield numbers[number], image, sequence.masks[numbers[number]]
    for missing in waiting:
        yield numbers[missing], None, sequence.masks[numbers[missing]]


def _image(folder: Path, name: str) -> Frame | None:
    try:
        return read_colour(str(folder / f"{name}.jpg"))
    except Unreadable:
        return None


def _listed(folder: Path, split: str) -> tuple[list[str], str]:
    """The names of a split, and the year of the list."""
    if not _NAME.fullmatch(split):
        raise ValueError(f"evaluate.propagation_split: {split!r} is no name of a split, such as val")
    lists = [folder / "ImageSets" / year / f"{split}.txt" for year in _YEARS]
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        raise ValueError(f"evaluate.davis: {str(lists[0])!r} is missing; set evaluate.propagation_split, or {_REMEDY}")
    try:
        names = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"evaluate.davis: {str(path)!r} cannot be read; {_REMEDY}") from error
    strange = [name for name in names if not _NAME.fullmatch(name)]
    if strange or not names:
        what = f"{strange[0]!r}, which is no sequence" if strange else "no sequence"
        raise ValueError(f"evaluate.davis: {str(path)!r} names {what}; {_REMEDY}")
    return list(dict.fromkeys(names)), path.parent.name


def _masks(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.png")) if not path.name.startswith(".")}


def _numbered(masks: dict[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in masks.items() if name.isascii() and name.isdigit()}
