"""Labelled images of a local folder as samples; the files are untrusted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.concurrency import in_threads
from storage.folders import digest_of
from storage.keys import JSON
from storage.root import Root, hash_file
from tasks.networks import MAX_PIXELS
from tasks.networks.pictures import Unreadable, sound_image
from tasks.records import Dropped
from tasks.train.augment import decode_patch
from tasks.train.config import TrainConfig
from tasks.train.folder import ImageFolder, list_images
from tasks.train.job import Job
from tasks.train.order import Layout, cut_layout

_NAMED = 5  # of the files that are left out, in the log

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageTable:
    """N images of a folder, class by class and there by name: `files` (N), below it; `groups` (N,) int64 their classes.

    `unreadable`: how many more files it holds whose header is that of no image.
    """

    folder: ImageFolder
    files: tuple[str, ...]
    groups: NDArray[np.int64]
    layout: Layout
    unreadable: int

    views = 1

    @property
    def counts(self) -> Mapping[str, int]:
        return {"images": len(self.files), "unreadable": self.unreadable}

    @property
    def facts(self) -> Mapping[str, JSON]:
        return {"classes": list(self.folder.classes)}

    def __len__(self) -> int:
        return len(self.files)

    def decode(self, sample: int, draws: NDArray[np.float64], config: TrainConfig, out: NDArray[np.uint8]) -> None:
        """Fill `out` (1, S, S, 3) with an image, changed by its draws (1, C). Raises Dropped for a damaged one."""
        path = str(self.folder.path / self.files[sample])
        try:
            with sound_image(path, MAX_PIXELS) as file:
                data = file.read()
            out[0] = decode_patch(data, draws[0], config.augment, config.smallest_crop, 1.0, out.shape[1])
        except (Unreadable, ValueError, cv2.error) as error:
            why = "it does not decode" if isinstance(error, (ValueError, cv2.error)) else str(error)
            words = f"train.images: {path!r} is no whole image ({why}); mend or remove it, then run again"
            raise Dropped("permanent", "damaged_image", words) from error

    def far_away(self, samples: NDArray[np.int64]) -> None:
        """No track tells."""

    def fetch(self, shard: int) -> None:
        """All files are local."""

    def release(self, shards: Iterable[int]) -> None:
        """No file stays open."""

    def will_need(self, blocks: Iterable[int]) -> None:
        """Each image is a file: the system reads it in one go anyway."""

    def close(self) -> None:
        """No file stays open."""


def load(root: Root, job: Job) -> ImageTable:
    """The images of the folder that the job names, which must be those that it was planned with."""
    return load_images(job.config.images, str(job.document.inputs["images"]))


def load_images(path: str, digest: str) -> ImageTable:
    """The images of a folder whose digest is known; those without an image's header are left out, and counted.

    Raises ValueError where the folder holds other bytes than that, and as `list_images` does; Dropped where nothing is
    left of a class.
    """
    folder = list_images(path)
    files = [file for of_class in folder.files for file in of_class]
    labels = np.repeat(np.arange(len(folder.classes)), [len(of_class) for of_class in folder.files])
    looked = list(in_threads(_look, (folder.path / file for file in files)))
    if digest_of(files, (hashed for hashed, _ in looked)) != digest:
        raise ValueError(
            f"train.images: {path!r} holds other images here than when the run was planned; run again, "
            "with the same folder on every machine"
        )
    bad = [(file, why) for file, (_, why) in zip(files, looked, strict=True) if why]
    kept = [not why for _, why in looked]
    if bad:
        told = ", ".join(f"{file!r} ({why})" for file, why in bad[:_NAMED])
        logger.warning(
            "train.images: %d of %d files left out: %s%s", len(bad), len(files), told, " ..." * (len(bad) > _NAMED)
        )
    groups = labels[kept]
    if lost := set(range(len(folder.classes))).difference(groups.tolist()):
        name = folder.classes[min(lost)]
        raise Dropped("permanent", "empty_class", f"train.images: class {name!r} of {path!r} holds no sound image")
    # Every image a block of its own: they lie in files of their own, and nothing is won by reading neighbours together.
    layout = cut_layout(np.zeros(len(groups), np.int64), block_pairs=1)
    return ImageTable(folder, tuple(np.array(files, object)[kept]), groups, layout, len(bad))


def _look(path: Path) -> tuple[tuple[str, int], str]:
    """(SHA-256, size) of a file, and why it is no image, or nothing."""
    hashed = hash_file(path)
    try:
        with sound_image(str(path), MAX_PIXELS):
            return hashed, ""
    except Unreadable as error:
        return hashed, str(error)
