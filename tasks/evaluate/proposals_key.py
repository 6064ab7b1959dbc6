"""Units of region proposals: which images each holds, and its key. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from storage.fingerprint import fingerprint
from storage.folders import contents_digest
from storage.keys import KeyDocument, Recipe, digest_json, library_versions
from tasks.evaluate.config import EvaluateConfig
from tasks.voc import image_names

SCHEMA = 1
IMAGES_PER_UNIT = 50  # about a minute of one core at 500 px: what a killed run repeats at most


def drawn_images(config: EvaluateConfig, devkit: Path, seed: int) -> tuple[list[str], list[str]]:
    """The images to train on and to test on, drawn by the seed: those of a smaller number are among those of a larger.

    Raises ValueError, in one line, for a split that cannot be read, and where the two have images in common.
    """
    train = image_names(devkit, config.detection_train_split)
    test = image_names(devkit, config.detection_test_split)
    if shared := set(train) & set(test):
        raise ValueError(
            f"evaluate.detection_test_split: {config.detection_test_split!r} holds {len(shared)} images of "
            f"{config.detection_train_split!r}, such as {min(shared)!r}; name two splits without a common image"
        )
    for split, names in ((config.detection_train_split, train), (config.detection_test_split, test)):
        if not names:
            raise ValueError(f"voc: split {split!r} of {str(devkit)!r} names no image; name another")
    return (
        _drawn(train, config.detection_train_images, seed),
        _drawn(test, config.detection_test_images, seed),
    )


def batches(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The images of each unit, in order; more images give more units and leave those that were full."""
    return [tuple(names[first : first + IMAGES_PER_UNIT]) for first in range(0, len(names), IMAGES_PER_UNIT)]


def devkit_digest(devkit: Path) -> str:
    """The digest of all images of a devkit; raises ValueError, in one line, where there are none."""
    try:
        return contents_digest(devkit / "JPEGImages")
    except ValueError as error:
        raise ValueError(f"voc: {error}; give a folder with Annotations, ImageSets and JPEGImages") from error


def proposals_document(images: str, names: Sequence[str], search_px: int, seed: int) -> KeyDocument:
    """What the proposals of some images depend on; `images`: the digest of all of the devkit."""
    recipe = Recipe(
        stage="proposals",
        schema=SCHEMA,
        seed=seed,
        parameters={"search_px": search_px},
        code=fingerprint("tasks.evaluate.proposals:propose"),
        libraries=library_versions("numpy", "opencv-contrib-python-headless", "pyarrow"),
    )
    return KeyDocument(recipe, {"images": images, "names": digest_json(list(names))})


def _drawn(names: Sequence[str], most: int, seed: int) -> list[str]:
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return order[:most] if most else order
