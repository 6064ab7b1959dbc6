"""A generated VOC devkit: coloured shapes on noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIDE_PX = 64
CLASSES = ("disc", "square")
_COLOURS = {"disc": (40, 60, 230), "square": (230, 60, 40)}  # RGB


def make_voc(folder: Path, num_train: int = 12, num_test: int = 12, rare: int = 1) -> Path:
    """The devkit's folder: every image holds a disc and a square; `rare` of the test images a difficult "ghost" too."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    names = [f"{number:06}" for number in range(num_train + num_test)]
    (folder / "ImageSets/Main/trainval.txt").write_text("\n".join(names[:num_train]) + "\n")
    (folder / "ImageSets/Main/test.txt").write_text("\n".join(names[num_train:]) + "\n")
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        image = cv2.resize(rng.integers(90, 150, (8, 8, 3), dtype=np.uint8), (SIDE_PX, SIDE_PX))
        objects = []
        columns = rng.permutation(2)
        for place, kind in enumerate(CLASSES):
            side = int(rng.integers(20, 27))
            left, top = 32 * int(columns[place]) + int(rng.integers(1, 5)), int(rng.integers(2, 34))
            if kind == "square":
                cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), _COLOURS[kind], -1)
            else:
                cv2.ellipse(image, ((left + side / 2, top + side / 2), (side, side), 0), _COLOURS[kind], -1)
            objects.append(object_xml(kind, left + 1, top + 1, left + side, top + side))
        if num_train <= number < num_train + rare:
            objects.append(object_xml("ghost", 1, 1, 20, 20))
        cv2.imwrite(str(folder / f"JPEGImages/{name}.jpg"), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (folder / f"Annotations/{name}.xml").write_text(annotation_xml(objects))
    return folder


def annotation_xml(objects: list[str], width: int = SIDE_PX, height: int = SIDE_PX) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def object_xml(kind: str, left: float, top: float, right: float, bottom: float, difficult: int = 0) -> str:
    """As VOC has it: pixels from 1, both ends included."""
    box = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
