"""Object detection on PASCAL VOC by R-CNN: region proposals, fine-tuned features, a score for each class, suppression.

After Girshick et al. (CVPR 2014), as Wang and Gupta (ICCV 2015) evaluate by it: without regression of boxes.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.keys import JSON
from storage.tables import table_bytes
from tasks.evaluate.ahead import ahead
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.context import Context, Result
from tasks.evaluate.detections import CURVE_SCHEMA, DETECTIONS_SCHEMA, RegionScores, Row, Tally
from tasks.evaluate.drawn import DRAWN_SCHEMA, SHOWN_IMAGES, Edges, draw_detections
from tasks.evaluate.fine_tuning import RegionClassifier, fine_tune
from tasks.evaluate.hard_negatives import Features, Machines
from tasks.evaluate.hog import hog_features
from tasks.evaluate.overlap import Boxes
from tasks.evaluate.pictures import encode_jpeg
from tasks.evaluate.proposals_key import drawn_images
from tasks.evaluate.warping import Regions, warp_regions
from tasks.evaluate.windows import Annotated, class_names, label_windows, read_annotated
from tasks.voc import image_names, read_image

_log = logging.getLogger(__name__)

NAME = "detection"
_HOG = "hog"
_REGIONS_AT_ONCE = 256  # decoded and warped ahead of the networks
_IMAGES_AT_ONCE = 50  # whose rows are held before they are written


def run(context: Context) -> Result:
    """Average precision of detectors on each network's convolutions, fine-tuned alike, and on hand-made features.

    Files: `detections.parquet` (DETECTIONS_SCHEMA), and `region_scores.parquet` with the scores of all proposals of
    each test image, by kind of features, for ensembles. Raises ValueError, in one line, where nothing can be trained
    on or measured.
    """
    setting = read_setting(context.config, Path(context.data), context.seed)
    counts, started = Counter[str](), time.monotonic()
    detectors = _Detectors(context, len(setting.classes))
    context.progress(0, context.config.detection_steps, "fine-tuning")
    losses, trained_on = _train(context, setting, detectors, counts)
    tuned = time.monotonic()
    tally = Tally(setting.classes, detectors.kinds)
    scored = ((image, detectors.scores(found)) for image, found in _described(context, setting, detectors, counts))
    with ExitStack() as stack:
        files = {name: _scratch_file(name) for name in ("detections.parquet", "region_scores.parquet")}
        for path in files.values():
            stack.callback(path.unlink, missing_ok=True)
        pictures = _write(scored, tally, detectors.kinds, files, context, len(setting.test))
        if not tally.num_images:
            raise ValueError(f"voc: no test image of {context.data!r} can be used; {_told(counts)}")
        counts["images_test"] = tally.num_images
        _log.info("detection: trained in %.1f s, tested in %.1f s", tuned - started, time.monotonic() - tuned)
        scores = tally.rows(
            NAME,
            trained_on,
            samples=context.config.bootstrap_samples,
            subset=setting.subset,
            note=method_note(context.config),
        )
        shown = {
            "pictures.parquet": table_bytes(pictures, DRAWN_SCHEMA),
            "curves.parquet": table_bytes(tally.curves(), CURVE_SCHEMA),
        }
        stack.pop_all()  # whoever commits the files removes them
    facts: dict[str, JSON] = {"classes": setting.classes, "trained_on": trained_on, "losses": losses}
    return Result(scores, counts=dict(+counts), facts=facts, files={**files, **shown})


@dataclass(frozen=True)
class Setting:
    """What is trained and tested on: names of images, the classes of all, and the part of the sets that this is."""

    train: frozenset[str]
    test: frozenset[str]
    classes: list[str]
    subset: str


def read_setting(config: EvaluateConfig, devkit: Path, seed: int) -> Setting:
    """The images that seed and configuration draw. Raises ValueError, in one line, for a devkit that cannot be read."""
    train, test = drawn_images(config, devkit, seed)
    parts = []
    for drawn, split, word in (
        (test, config.detection_test_split, "test"),
        (train, config.detection_train_split, "training"),
    ):
        if len(drawn) < (whole := len(image_names(devkit, split))):
            parts.append(f"{len(drawn)} of {whole} {word} images")
    if config.detection_proposals:
        parts.append(f"{config.detection_proposals} proposals")
    return Setting(frozenset(train), frozenset(test), class_names(devkit, [*train, *test]), ", ".join(parts))


def method_note(config: EvaluateConfig) -> str:
    """How the figures came about, in a few words."""
    how = "the fine-tuned softmax" if config.detection_classifier == "softmax" else "linear SVMs on the fine-tuned fc7"
    return f"R-CNN, {config.detection_steps} steps, {how}; HOG: linear SVMs"


class _Detectors:
    """The networks with their new layers, and the machines that score fc7 or hand-made features, by kind."""

    def __init__(self, context: Context, num_classes: int) -> None:
        judged, config = context.judged, context.config
        self.models = {
            kind: RegionClassifier(
                network, judged.specs[kind].name, num_classes, config.detection_dropout, context.seed
            )
            for kind, network in judged.networks.items()
        }
        self.kinds = [*self.models, _HOG]
        self.sides_px = {kind: judged.specs[kind].input_px for kind in self.models} | {_HOG: judged.side_px}
        with_machines = [_HOG] if config.detection_classifier == "softmax" else self.kinds
        self.machines = {kind: Machines(num_classes, context.seed) for kind in with_machines}
        self._device = context.device

    def describe(self, regions: Mapping[int, Regions], kinds: Iterable[str]) -> dict[str, Features]:
        """Of regions by side of the input: (B, F) by kind; of those without machines the classes' shares (B, C)."""
        found = {}
        for kind in kinds:
            squares = regions[self.sides_px[kind]]
            if kind == _HOG:
                found[kind] = hog_features(squares)
            else:
                features, shares = self.models[kind].describe(squares, self._device)
                found[kind] = features if kind in self.machines else shares[:, 1:]
        return found

    def scores(self, found: Mapping[str, Features]) -> dict[str, RegionScores]:
        """(P, C) by kind, of what `describe` gave."""
        return {
            kind: self.machines[kind].scores(features) if kind in self.machines else features
            for kind, features in found.items()
        }


def _train(
    context: Context, setting: Setting, detectors: _Detectors, counts: Counter[str]
) -> tuple[dict[str, float], list[str]]:
    """Fine-tune, then fit the machines; the last losses by network, and the classes that there are examples of."""
    images = [label_windows(image) for image in _annotated(context, setting, setting.train, counts)]
    counts["images_train"] = len(images)
    examples = np.unique(np.concatenate([image.labels for image in images])) if images else np.zeros(0)
    trained_on = [name for number, name in enumerate(setting.classes, start=1) if number in examples]
    if not trained_on:
        raise ValueError(f"voc: no object in {len(images)} training images of {context.data!r}; {_told(counts)}")
    losses = fine_tune(
        detectors.models,
        detectors.sides_px,
        Path(context.data),
        images,
        context.config,
        context.seed,
        context.device,
        context.attempts,
        context.progress,
    )
    del images

    def regions(boxes_of: Callable[[Annotated], Boxes], words: str) -> Iterator[tuple[Annotated, dict[str, Features]]]:
        annotated = _annotated(context, setting, setting.train, Counter())
        found = _regions(context, detectors, annotated, boxes_of, list(detectors.machines))
        for done, item in enumerate(found, start=1):
            yield item
            context.progress(done, counts["images_train"], words)

    for image, found in regions(lambda image: image.objects, "objects"):
        for kind, machine in detectors.machines.items():
            machine.add_objects(image, found[kind])
    for image, found in regions(lambda image: image.proposals, "hard negatives"):
        for kind, machine in detectors.machines.items():
            machine.add_proposals(image, found[kind])
    for machine in detectors.machines.values():
        machine.finish()
    return losses, trained_on


def _described(
    context: Context, setting: Setting, detectors: _Detectors, counts: Counter[str]
) -> Iterator[tuple[Annotated, dict[str, Features]]]:
    annotated = _annotated(context, setting, setting.test, counts)
    return _regions(context, detectors, annotated, lambda image: image.proposals, detectors.kinds)


def _annotated(context: Context, setting: Setting, names: frozenset[str], counts: Counter[str]) -> Iterator[Annotated]:
    most = context.config.detection_proposals
    units = context.proposals
    return read_annotated(context.root, Path(context.data), units, names, setting.classes, most, counts)


def _regions(
    context: Context,
    detectors: _Detectors,
    images: Iterable[Annotated],
    boxes_of: Callable[[Annotated], Boxes],
    kinds: list[str],
) -> Iterator[tuple[Annotated, dict[str, Features]]]:
    """What `describe` says of the regions of each image, (N, F) by kind; an image without a region is left out."""
    sides = sorted({detectors.sides_px[kind] for kind in kinds})

    def warped() -> Iterator[tuple[Annotated, bool, dict[int, Regions]]]:
        for image in images:
            boxes = boxes_of(image)
            pixels = read_image(Path(context.data), image.name) if len(boxes) else None
            for first in range(0, len(boxes), _REGIONS_AT_ONCE):
                assert pixels is not None, "read where there is a box"
                part = boxes[first : first + _REGIONS_AT_ONCE]
                last = first + _REGIONS_AT_ONCE >= len(boxes)
                yield image, last, {side: warp_regions(pixels, part, side) for side in sides}

    parts: list[dict[str, Features]] = []
    for image, last, regions in ahead(warped()):
        parts.append(detectors.describe(regions, kinds))
        if last:
            yield image, {kind: np.concatenate([part[kind] for part in parts]) for kind in kinds}
            parts = []


def _write(
    scored: Iterable[tuple[Annotated, Mapping[str, RegionScores]]],
    tally: Tally,
    kinds: list[str],
    paths: Mapping[str, Path],
    context: Context,
    num_images: int,
) -> list[dict[str, str | bytes]]:
    """Count every test image, and write its detections and the scores of its regions to local files as they come.

    Returns rows of DRAWN_SCHEMA, of the first images: their order was drawn by the seed.
    """
    pictures: list[dict[str, str | bytes]] = []
    schema = pa.schema([("image", pa.string()), *((kind, pa.list_(pa.float32())) for kind in kinds)])
    with (
        pq.ParquetWriter(paths["detections.parquet"], DETECTIONS_SCHEMA, compression="zstd") as detections,
        pq.ParquetWriter(paths["region_scores.parquet"], schema, compression="zstd") as regions,
    ):
        rows: list[Row] = []
        scores: list[dict[str, str | npt.NDArray[np.float32]]] = []

        def flush() -> None:
            if scores:
                detections.write_table(pa.Table.from_pylist(rows, schema=DETECTIONS_SCHEMA))
                regions.write_table(pa.Table.from_pylist(scores, schema=schema))
            rows.clear()
            scores.clear()

        for image, found in scored:
            best = tally.add(image, found)
            rows += best
            if tally.num_images <= SHOWN_IMAGES:
                pictures += _pictures(Path(context.data), image, best)
            scores.append({"image": image.name, **{kind: found[kind].ravel() for kind in kinds}})
            if len(scores) == _IMAGES_AT_ONCE:
                flush()
            context.progress(tally.num_images, num_images, "testing")
        flush()
    return pictures


def _pictures(devkit: Path, image: Annotated, best: list[Row]) -> list[dict[str, str | bytes]]:
    """A picture for each kind of features."""
    pixels, truths = read_image(devkit, image.name), [tuple(box) for box in image.objects.tolist()]
    found: dict[str, list[tuple[float, str, Edges]]] = {}
    for row in best:
        x, y, width, height = row["box"]
        found.setdefault(row["features"], []).append((row["score"], row["class"], (x, y, x + width, y + height)))
    return [
        {"image": image.name, "features": kind, "jpeg": encode_jpeg(draw_detections(pixels, truths, rows))}
        for kind, rows in found.items()
    ]


def _scratch_file(name: str) -> Path:
    with tempfile.NamedTemporaryFile(prefix="tritrack-", suffix=f"-{name}", delete=False) as file:
        return Path(file.name)


def _told(counts: Counter[str]) -> str:
    told = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in sorted(counts.items()) if number)
    return f"{told or 'no image was left out'}; check the split and the folder"
