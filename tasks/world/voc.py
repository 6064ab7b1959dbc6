"""Writing a folder in the format of PASCAL VOC 2007: images, annotations and image sets."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from tasks.records import Progress, no_progress
from tasks.world.config import WorldConfig
from tasks.world.render import Frame, ObjectTruth, render_frame
from tasks.world.scene import make_shot

SPLITS = ("train", "val", "test")
_DIFFICULT_VISIBILITY = 0.4
_DIFFICULT_SIDE_PX = 8
_TRUNCATED_VISIBILITY = 0.9
_JPEG_QUALITY = 95


def write_voc(
    folder: Path,
    config: WorldConfig,
    seed: int,
    num_images: tuple[int, int, int],
    progress: Progress = no_progress,
) -> list[Frame]:
    """Write images of train, val and test, one frame of one video each, as VOC2007 lays them out below `folder`.

    Boxes are 1-based with both ends included. `difficult`: less than 40 % to be seen, or a side below 8 px;
    `truncated`: less than 90 %. Solids of which nothing is seen are left out. Returns the frames, image
    000001 first, as truth.
    """
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames: list[Frame] = []
    sets: dict[str, list[int]] = {}
    total = sum(num_images)
    for split, count in zip(SPLITS, num_images, strict=True):
        sets[split] = list(range(len(frames), len(frames) + count))
        for index in sets[split]:
            frame = pick_frame(config, seed, index, truth=False)
            frames.append(frame)
            _write_image(folder, index, frame)
            progress(index + 1, total)
    sets["trainval"] = sets["train"] + sets["val"]
    for split, members in sets.items():
        _write_set(folder, config, split, members, frames)
    return frames


def pick_frame(config: WorldConfig, seed: int, index: int, truth: bool) -> Frame:
    """One frame of video `index`, picked by the seed."""
    number = int(np.random.default_rng([seed, index]).integers(config.num_frames))
    return render_frame(make_shot(config, seed, index, number), number, truth)


def image_name(index: int) -> str:
    return f"{index + 1:06d}"


def is_difficult(thing: ObjectTruth) -> bool:
    return thing.visibility < _DIFFICULT_VISIBILITY or min(thing.box[2:]) < _DIFFICULT_SIDE_PX


def _write_image(folder: Path, index: int, frame: Frame) -> None:
    name = image_name(index)
    height, width, depth = frame.image.shape
    image = np.ascontiguousarray(frame.image[..., ::-1])
    cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    root = ElementTree.Element("annotation")
    _add(root, folder=folder.name, filename=f"{name}.jpg")
    source = ElementTree.SubElement(root, "source")
    _add(source, database="generated world", annotation="exact", image="rendered")
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=depth)
    _add(root, segmented=0)
    for thing in frame.objects:
        x, y, wide, high = (round(value) for value in thing.box)
        if not wide:
            continue
        entry = ElementTree.SubElement(root, "object")
        truncated = thing.visibility < _TRUNCATED_VISIBILITY
        _add(entry, name=thing.label, pose="Unspecified", truncated=int(truncated), difficult=int(is_difficult(thing)))
        _add(ElementTree.SubElement(entry, "bndbox"), xmin=x + 1, ymin=y + 1, xmax=x + wide, ymax=y + high)
    ElementTree.indent(root, "\t")
    ElementTree.ElementTree(root).write(folder / "Annotations" / f"{name}.xml")


def _add(parent: ElementTree.Element, **values: str | int) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def _write_set(folder: Path, config: WorldConfig, split: str, members: list[int], frames: list[Frame]) -> None:
    """The list of names, and for each class 1 (there), 0 (only difficult ones) or -1 (absent)."""
    sets = folder / "ImageSets" / "Main"
    (sets / f"{split}.txt").write_text("".join(f"{image_name(index)}\n" for index in members))
    for label in config.classes:
        lines = []
        for index in members:
            seen = [thing for thing in frames[index].objects if thing.label == label and thing.box[2]]
            state = -1 if not seen else 0 if all(is_difficult(thing) for thing in seen) else 1
            lines.append(f"{image_name(index)} {state:2d}\n")
        (sets / f"{label}_{split}.txt").write_text("".join(lines))
