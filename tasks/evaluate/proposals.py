"""Region proposals: boxes that may hold an object of any class, by selective search; units of their own."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.keys import KeyDocument
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.tables import read_table, table_bytes
from tasks.evaluate.overlap import Boxes, edged, sized
from tasks.records import BOX, Progress, no_progress
from tasks.voc import read_image

_log = logging.getLogger(__name__)

PROPOSALS_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("boxes", pa.list_(BOX)),  # in random order, so that the first N are a fair sample
    ]
)
_LEAST_PX = 16  # of the shorter side; VOC has hardly an object below that which is not difficult


def propose(
    root: Root,
    devkit: str,
    names: Sequence[str],
    search_px: int,
    seed: int,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Find the proposals of some images and commit them as `proposals.parquet` (PROPOSALS_SCHEMA).

    An image that cannot be read is left out, and counted. `device` is taken as from every unit, and not used.
    """
    started = time.monotonic()
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    for done, name in enumerate(names):
        progress(done, len(names), name)
        try:
            image = read_image(Path(devkit), name)
        except ValueError as error:
            _log.warning("left out: %s", error)
            continue
        boxes = _in_random_order(selective_search(image, search_px), name, seed)
        height, width = image.shape[:2]
        rows.append({"image": name, "width": width, "height": height, "boxes": sized(boxes).tolist()})
    counts = {
        "images": len(rows),
        "images_unreadable": len(names) - len(rows),
        "proposals": sum(len(row["boxes"]) for row in rows),
    }
    files = {"proposals.parquet": table_bytes(rows, PROPOSALS_SCHEMA)}
    manifest = commit(root, document, files, counts=counts, seconds=time.monotonic() - started)
    _log.info("%d proposals in %d images, in %.1f s", counts["proposals"], len(rows), manifest.seconds)
    return manifest


def selective_search(image: npt.NDArray[np.uint8], search_px: int) -> Boxes:
    """The boxes of an image (H, W, 3), sorted: those of Uijlings et al. (IJCV 2013), "fast" mode as in R-CNN.

    The search runs on the image scaled down to a longer side of `search_px`; boxes are in px of the image as it is.
    Small ones are left out, and the whole image is always one. Which boxes are found is fixed; OpenCV draws their order
    from the C library's generator, which none of its seeds reaches, so that they are sorted here.
    """
    height, width = image.shape[:2]
    scale = min(1.0, search_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(small[:, :, ::-1]))  # BGR, as OpenCV's colours have it
    search.switchToSelectiveSearchFast()
    found = np.asarray(search.process(), np.float64).reshape(-1, 4)
    boxes = edged(found) * np.tile([width / size[0], height / size[1]], 2)
    kept = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= _LEAST_PX
    whole = np.asarray([[0, 0, width, height]], np.float32)
    return np.unique(np.concatenate([whole, boxes[kept].astype(np.float32)]), axis=0)


def read_proposals(root: Root, units: Iterable[str], most: int = 0) -> Iterator[tuple[str, Boxes]]:
    """(image, boxes) of all images of the units (keys), in order, unit after unit; the first `most` boxes, 0: all.

    Raises RootError where a unit is missing or damaged.
    """
    for key in units:
        table = read_table(root, require_manifest(root, "proposals", key).files["proposals.parquet"])
        for row in range(len(table)):
            boxes = edged(np.asarray(table["boxes"][row].values.flatten(), np.float32).reshape(-1, 4))
            yield table["image"][row].as_py(), boxes[:most] if most else boxes


def _in_random_order(boxes: Boxes, name: str, seed: int) -> Boxes:
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big")
    return boxes[np.random.default_rng(drawn).permutation(len(boxes))]
