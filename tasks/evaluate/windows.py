"""Annotated images with their proposals, and the regions of them that a step of fine-tuning is shown."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.root import Root
from tasks.evaluate.overlap import Boxes, overlaps
from tasks.evaluate.proposals import read_proposals
from tasks.voc import read_annotation

_log = logging.getLogger(__name__)

BACKGROUND, IGNORED = 0, -1
# Girshick et al. (CVPR 2014), section 2.3: both limits, and a quarter of the regions of a batch.
_FOREGROUND_OVERLAP = 0.5
_FOREGROUND_SHARE = 0.25


@dataclass(frozen=True)
class Annotated:
    """An image: its objects (G, 4) with the number of their class (G,), from 1, and its proposals (P, 4)."""

    name: str
    objects: Boxes
    classes: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    proposals: Boxes


@dataclass(frozen=True)
class Windows:
    """Regions of an image that train: its objects and proposals (N, 4), each with the number of a class, `BACKGROUND`
    or `IGNORED` (N,)."""

    name: str
    boxes: Boxes
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """So many regions of one image, each as it is or mirrored: boxes (N, 4), labels (N,), mirrored (N,)."""

    name: str
    boxes: Boxes
    labels: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]


def class_names(devkit: Path, names: Sequence[str]) -> list[str]:
    """The classes of the images' objects, sorted; an annotation that cannot be read names none."""
    found: set[str] = set()
    for name in names:
        try:
            found |= {box.name for box in read_annotation(devkit, name).boxes}
        except ValueError as error:
            _log.warning("left out: %s", error)
    return sorted(found)


def read_annotated(
    root: Root,
    devkit: Path,
    units: Sequence[str],
    names: Collection[str],
    classes: Sequence[str],
    most: int,
    counts: Counter[str],
) -> Iterator[Annotated]:
    """The images of the proposals' units (keys) that are among `names`, in order; the first `most` proposals, 0: all.

    What has no proposals or no readable annotation is left out, as are boxes that lie outside their image, and counted
    in `counts`.
    """
    counts["images_unreadable"] += len(names)
    for name, proposals in read_proposals(root, units, most):
        if name not in names:
            continue
        counts["images_unreadable"] -= 1
        try:
            annotation = read_annotation(devkit, name)
        except ValueError as error:
            _log.warning("left out: %s", error)
            counts["annotations_unreadable"] += 1
            continue
        known = [box for box in annotation.boxes if box.name in classes]
        ends = np.asarray([box.edges for box in known], np.float32).reshape(-1, 4)
        ends = ends.clip(0, np.tile([annotation.width, annotation.height], 2).astype(np.float32))
        sound = (ends[:, 2:] > ends[:, :2]).all(axis=1)
        counts["boxes_outside"] += int((~sound).sum())
        yield Annotated(
            name,
            ends[sound],
            np.asarray([classes.index(box.name) + 1 for box in known], np.int64)[sound],
            np.asarray([box.difficult for box in known], np.bool_)[sound],
            proposals,
        )


def label_windows(image: Annotated) -> Windows:
    """Each region's label, by the object that it overlaps most.

    From an overlap of 0.5 on it is an example of the object's class, below it is background. What overlaps a difficult
    object so, and no other, is neither.
    """
    boxes = np.concatenate([image.objects, image.proposals])
    labels = np.full(len(boxes), BACKGROUND, np.int64)
    if len(image.objects):
        shared = overlaps(boxes, image.objects)
        labels[(shared[:, image.difficult] >= _FOREGROUND_OVERLAP).any(axis=1)] = IGNORED
        plain = np.where(image.difficult, np.float32(-1), shared)
        near = plain.max(axis=1) >= _FOREGROUND_OVERLAP
        labels[near] = image.classes[plain.argmax(axis=1)[near]]
    return Windows(image.name, boxes, labels)


def draw_step(images: Sequence[Windows], num_images: int, num_regions: int, seed: int, step: int) -> list[Draw]:
    """The regions of one step, a pure function of seed and step: a quarter are examples of classes, each from any of
    the drawn images, half of all are mirrored. Where the images hold too few of a sort, some are drawn again."""
    rng = np.random.default_rng((seed, step))
    chosen = rng.choice(len(images), size=min(num_images, len(images)), replace=False)
    labels = np.concatenate([images[index].labels for index in chosen])
    owner = np.repeat(np.arange(len(chosen)), [len(images[index].labels) for index in chosen])
    place = np.concatenate([np.arange(len(images[index].labels)) for index in chosen])
    examples, background = np.nonzero(labels > 0)[0], np.nonzero(labels == BACKGROUND)[0]
    wanted = round(_FOREGROUND_SHARE * num_regions)
    if not len(examples) or not len(background):
        wanted = num_regions if len(examples) else 0
    picked = np.concatenate([_pick(rng, examples, wanted), _pick(rng, background, num_regions - wanted)])
    mirrored = rng.random(len(picked)) < 0.5
    draws = []
    for number, index in enumerate(chosen):
        mine = owner[picked] == number
        if mine.any():
            rows = place[picked[mine]]
            image = images[index]
            draws.append(Draw(image.name, image.boxes[rows], image.labels[rows], mirrored[mine]))
    return draws


def _pick(rng: np.random.Generator, pool: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    if not len(pool):
        return pool
    return rng.choice(pool, size=number, replace=number > len(pool))
