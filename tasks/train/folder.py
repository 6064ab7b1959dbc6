"""A folder of labelled images, a subfolder a class, as torchvision's ImageFolder and datasets' imagefolder have it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.concurrency import in_threads
from storage.folders import digest_of
from storage.root import hash_file
from tasks.networks import IMAGE_ENDINGS


@dataclass(frozen=True)
class ImageFolder:
    """`classes`: the subfolders' names, sorted; `files`: of each class its images at any depth below it, as paths that
    begin at the folder `path`, sorted; all by their bytes."""

    path: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]


def list_images(path: str) -> ImageFolder:
    """The images of a folder by their endings; links to folders are followed for the classes alone.

    Raises ValueError, in one line, where there is no such folder, fewer than two classes, or a class without images.
    """
    folder, classes = Path(path).expanduser(), class_names(path)
    files = tuple(
        tuple(sorted((os.path.relpath(file, folder) for file in _walk(folder / name)), key=os.fsencode))
        for name in classes
    )
    for name, found in zip(classes, files, strict=True):
        if not found:
            raise ValueError(f"train.images: class {name!r} of {path!r} holds no {', '.join(IMAGE_ENDINGS)} file")
    return ImageFolder(folder, classes, files)


def class_names(path: str) -> tuple[str, ...]:
    """The classes of a folder of images; raises as `list_images` does."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"train.images: {path!r} is no folder; name one with a subfolder of images a class")
    with os.scandir(folder) as entries:
        names = sorted((one.name for one in entries if one.is_dir() and not _is_hidden(one.name)), key=os.fsencode)
    if len(names) < 2:
        there = f"one class alone ({names[0]!r})" if names else "no subfolder"
        raise ValueError(f"train.images: {path!r} has {there}; give it a subfolder of images a class, two or more")
    return tuple(names)


def images_digest(path: str) -> str:
    """SHA-256 (hex) of all that the images are: their names below the folder, and their bytes.

    Raises ValueError as `list_images` does, and for what cannot be read.
    """
    try:
        folder = list_images(path)
        files = [file for of_class in folder.files for file in of_class]
        return digest_of(files, in_threads(hash_file, (folder.path / file for file in files)))
    except OSError as error:
        raise ValueError(f"train.images: {str(error.filename)!r} cannot be read ({error.strerror})") from error


def _walk(folder: str | Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.name.lower().endswith(IMAGE_ENDINGS) and entry.is_file():
                yield entry.path


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
