"""The labelled images that features are judged on: CIFAR-10 and five classes of VOC 2007, subsets of both."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.voc import read_boxes

VOC_CLASSES = ("car", "person", "cat", "bus", "train")  # the only ones with enough images in the subset
CIFAR_SIDE_PX, VOC_SIDE_PX = 96, 160  # chosen between the halves of the training images

Images = NDArray[np.uint8]  # (N, S, S, 3), RGB


@dataclass(frozen=True)
class Labelled:
    """N images; `labels` (N, C) bool, one column a class; `counted` (N, C) bool: False where a class is `difficult`."""

    images: Images
    labels: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def joined(self, other: Labelled) -> Labelled:
        """These images and then the other ones."""
        images, labels = np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels])
        return Labelled(images, labels, np.concatenate([self.counted, other.counted]))


def read_cifar(data: Path, part: str) -> Labelled:
    """`part` train (5,000 images) or test (1,000) of the subset, enlarged to CIFAR_SIDE_PX squares."""
    (path,) = data.glob(f"cifar10/cifar10_jpg_{part}_*.zip")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        images = [_decode(archive.read(name), CIFAR_SIDE_PX, cv2.INTER_CUBIC) for name in names]
    classes = np.array([PurePosixPath(name).parent.name for name in names])
    labels = classes[:, None] == np.unique(classes)
    return Labelled(np.stack(images), labels, np.ones_like(labels))


def read_voc(data: Path, part: str) -> Labelled:
    """`part` train or val (the halves of trainval) or test: whole images, squeezed to VOC_SIDE_PX squares."""
    devkit = data / "voc2007" / "VOCdevkit" / "VOC2007"
    names = (devkit / "ImageSets" / "Main" / f"{part}.txt").read_text().split()
    images = [
        _decode((devkit / "JPEGImages" / f"{name}.jpg").read_bytes(), VOC_SIDE_PX, cv2.INTER_AREA) for name in names
    ]
    boxes = [read_boxes(devkit / "Annotations" / f"{name}.xml") for name in names]
    easy = [{box.name for box in of_image if not box.difficult} for of_image in boxes]
    hard = [{box.name for box in of_image if box.difficult} for of_image in boxes]
    labels = np.array([[name in found for name in VOC_CLASSES] for found in easy])
    only_hard = np.array([[name in found for name in VOC_CLASSES] for found in hard]) & ~labels
    return Labelled(np.stack(images), labels, ~only_hard)


def _decode(data: bytes, side_px: int, interpolation: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(cv2.resize(image, (side_px, side_px), interpolation=interpolation), np.uint8)
