"""Labelled images outside the root: a folder of each class, or a zip of such folders; all are untrusted."""

from __future__ import annotations

import io
import logging
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from tasks.networks import IMAGE_ENDINGS, MAX_PIXELS
from tasks.networks.pictures import Unreadable, decode_square, find_images, header_size, read_picture

TRAIN, TEST = ("train",), ("test", "val")  # in the order in which they are looked for

_MOST_BYTES = 64 << 20  # of one image of a zip, unpacked
_REMEDY = "give a folder with train and test (or val), each with a folder of images a class, or with a zip of each"

_log = logging.getLogger(__name__)

Square = npt.NDArray[np.uint8]  # (S, S, 3), RGB


def find_set(folder: Path, roles: tuple[str, ...]) -> Path:
    """The subfolder or zip of a role, such as train; raises ValueError, in one line, where there is none or are two."""
    for role in roles:
        if (folder / role).is_dir():
            return folder / role
    zips = sorted(folder.glob("*.zip"))
    for role in roles:
        named = [path for path in zips if role in path.stem]
        if len(named) > 1:
            raise ValueError(f"images: {str(folder)!r} holds {len(named)} zips named {role!r}; leave one")
        if named:
            return named[0]
    raise ValueError(f"images: {str(folder)!r} holds no {' or '.join(roles)}; {_REMEDY}")


def list_images(place: Path) -> list[tuple[str, str]]:
    """(class, name) of every image of a set, sorted: a path, or the name of a zip's entry.

    The class is the folder that an image lies in: of a set's subfolders the first below it, of a zip the last. Raises
    ValueError, in one line, for a zip that is none, and where there is no image.
    """
    found = sorted(_in_folders(place) if place.is_dir() else _in_zip(place))
    if not found:
        raise ValueError(f"images: {str(place)!r} holds no image in a folder of its class; {_REMEDY}")
    return found


# Of an entry: what zipfile and its decompressors raise.
_DAMAGED = (
    Unreadable,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def read_squares(place: Path, names: list[str], side_px: int) -> Iterator[Square | None]:
    """The middle square of each image of a set, scaled to `side_px`; None where it cannot be read, which is logged.

    Of a zip nothing is unpacked to disk, and of an entry no more than its bound.
    """
    if place.is_dir():
        for name in names:
            try:
                yield read_picture(name, side_px, MAX_PIXELS).pixels
            except Unreadable as error:
                _log.warning("left out: %r %s", name, error)
                yield None
        return
    with zipfile.ZipFile(place) as archive:
        for name in names:
            try:
                yield _from_entry(archive, name, side_px)
            except _DAMAGED as error:
                _log.warning("left out: %r of %r (%s)", name, str(place), error)
                yield None


def _in_folders(place: Path) -> Iterator[tuple[str, str]]:
    for inside in place.iterdir():
        if inside.is_dir() and not inside.name.startswith("."):
            yield from ((inside.name, name) for name in find_images([inside]))


def _in_zip(place: Path) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ValueError(f"images: {str(place)!r} is no zip ({error}); {_REMEDY}") from error
    for name in names:
        path = PurePosixPath(name)
        if path.parent.name and path.suffix.lower() in IMAGE_ENDINGS and not any(map(_hidden, path.parts)):
            yield path.parent.name, name


def _hidden(part: str) -> bool:
    """Whether a part of a name is none of a picture's: macOS puts copies of names into __MACOSX."""
    return part.startswith(".") or part == "__MACOSX"


def _from_entry(archive: zipfile.ZipFile, name: str, side_px: int) -> Square:
    entry = archive.getinfo(name)
    if entry.file_size > _MOST_BYTES:
        raise Unreadable(f"too large, {entry.file_size:,} bytes unpacked")
    with archive.open(entry) as file:
        data = file.read(_MOST_BYTES)
    width, height = header_size(io.BytesIO(data))
    if not 0 < width * height <= MAX_PIXELS:
        raise Unreadable(f"its header says {width} x {height} px; 1 to {MAX_PIXELS:,} are read")
    return decode_square(data, side_px)[2]
