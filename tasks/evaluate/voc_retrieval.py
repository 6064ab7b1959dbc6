"""Retrieval of VOC's objects: of what classes are the nearest neighbours of a box, among the boxes of another split?"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.evaluate.context import Context, Result
from tasks.evaluate.features import BATCH_IMAGES, Extractor, load_extractors
from tasks.evaluate.neighbours import NEIGHBOURS, Item, Neighbour, choose_queries, neighbour_rows
from tasks.evaluate.pictures import encode_jpeg
from tasks.evaluate.scores import Score, no_score, score_rows
from tasks.evaluate.search import Features, nearest_rows
from tasks.evaluate.spill import Spill
from tasks.evaluate.voc_images import names_apart, readable_images
from tasks.networks.pictures import squeezed
from tasks.voc import Box, cut_square, read_image

NAME = "voc_retrieval"
LEAST_QUERIES = 10  # of a class; of fewer its precision says little
MIN_SIDE_PX = 16  # a smaller box shows no shape
_PICTURE_PX = 128  # of a side on the page


def run(context: Context) -> Result:
    """Precision at `voc_retrieval_depth`: the share of a query's nearest boxes that are of its class.

    Queries are the boxes of one split, the gallery those of another, cut as squares with a rim of their surroundings;
    `difficult` and small ones are left out. Neighbours are exact, by the cosine of the backbone's features. Intervals
    are resampled by the queries' images, with the gallery held fixed.
    """
    devkit, config = Path(context.data), context.config
    splits = (config.voc_retrieval_query_split, config.voc_retrieval_gallery_split)
    named = names_apart(devkit, *splits)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="tritrack-voc-") as folder:
        queries, gallery = (
            _objects(context, devkit, split, names, Path(folder) / role, counts)
            for role, split, names in zip(("queries", "gallery"), splits, named, strict=True)
        )
        known = np.isin(queries.classes, gallery.classes)
        counts["queries"], counts["gallery"] = int(known.sum()), len(gallery.classes)
        counts["queries_of_unknown_class"] = int((~known).sum())
        if not known.any():
            reason = f"no object of split {splits[0]!r} has a class of split {splits[1]!r}"
            return Result([no_score(NAME, f"precision@{config.voc_retrieval_depth}", reason)], counts=dict(counts))
        found = {}
        for done, kind in enumerate(queries.features):
            context.progress(done, len(queries.features), "search")
            depth = max(config.voc_retrieval_depth, NEIGHBOURS)
            found[kind], _ = nearest_rows(queries.features[kind], gallery.features[kind], depth)
        context.progress(len(found), len(found), "search")
        neighbours = _neighbours(devkit, queries, gallery, np.flatnonzero(known), found, context.seed)
    return Result(_scores(context, queries, gallery, known, found), neighbours, dict(counts))


@dataclass(frozen=True)
class _Objects:
    """Boxes and their features (N, F) by kind, mapped from disk; `images` (N,) numbers `names`, the boxes' images."""

    names: list[str]
    images: npt.NDArray[np.int64]
    boxes: list[Box]
    classes: npt.NDArray[np.str_]
    features: Mapping[str, Features]


def _objects(
    context: Context, devkit: Path, split: str, names: Sequence[str], folder: Path, counts: Counter[str]
) -> _Objects:
    """The boxes of a split that can be read; features are taken a batch at a time, pixels let go."""
    folder.mkdir()
    extractors = load_extractors(context.judged, "backbone", context.device)
    spills = {kind: Spill(folder / f"{kind}.raw") for kind in extractors}
    images: list[int] = []
    boxes: list[Box] = []
    waiting: list[npt.NDArray[np.uint8]] = []
    read = 0
    for place, found, image in readable_images(devkit, names, context.progress, f"objects of {split}"):
        read += 1
        for box in found:
            if reason := _unfit(box, image):
                counts[f"boxes_{reason}"] += 1
                continue
            boxes.append(box)
            images.append(place)
            waiting.append(squeezed(cut_square(image, box), context.judged.side_px))
        if len(waiting) >= BATCH_IMAGES:
            _extract(extractors, waiting, spills)
    _extract(extractors, waiting, spills)
    counts["images_unreadable"] += len(names) - read
    if not boxes:
        raise ValueError(f"voc: no object of split {split!r} of {str(devkit)!r} can be cut; give another split")
    features = {kind: np.asarray(spill.mapped(), np.float32) for kind, spill in spills.items()}
    return _Objects(list(names), np.asarray(images), boxes, np.asarray([box.name for box in boxes]), features)


def _unfit(box: Box, image: npt.NDArray[np.uint8]) -> str:
    """Why a box is left out, or empty."""
    left, top, right, bottom = box.edges
    if box.difficult:
        return "difficult"
    if min(right - left, bottom - top) < MIN_SIDE_PX:
        return "small"
    height, width = image.shape[:2]
    # To a pixel, as some annotators counted from 0; further off, it is not this image that was annotated.
    return "" if min(left, top) >= -1 and right <= width + 1 and bottom <= height + 1 else "outside"


def _extract(
    extractors: Mapping[str, Extractor], waiting: list[npt.NDArray[np.uint8]], spills: Mapping[str, Spill]
) -> None:
    """The features of the squares that wait; none wait afterwards."""
    if waiting:
        batch = np.stack(waiting)
        for kind, extract in extractors.items():
            spills[kind].add(extract(batch))
        waiting.clear()


def _scores(
    context: Context,
    queries: _Objects,
    gallery: _Objects,
    known: npt.NDArray[np.bool_],
    found: Mapping[str, npt.NDArray[np.int64]],
) -> list[Score]:
    depth = min(context.config.voc_retrieval_depth, len(gallery.classes))
    metric = f"precision@{context.config.voc_retrieval_depth}"
    right = {
        kind: (gallery.classes[rows[:, :depth]] == queries.classes[:, None]).mean(axis=1)
        for kind, rows in found.items()
    }
    shares = dict(zip(*np.unique(gallery.classes, return_counts=True), strict=True))
    chances = np.array([shares.get(name, 0) for name in queries.classes]) / len(gallery.classes)
    rows: list[Score] = []
    for name in ("", *np.unique(queries.classes[known]).tolist()):
        asked = known & (queries.classes == name) if name else known
        named = f"{metric} {name}" if name else metric
        if name and asked.sum() < LEAST_QUERIES:
            rows.append(no_score(NAME, named, f"fewer than {LEAST_QUERIES} queries of the class", int(asked.sum())))
            continue
        rows += score_rows(
            NAME,
            named,
            {kind: values[asked] for kind, values in right.items()},
            queries.images[asked],
            samples=context.config.bootstrap_samples,
            chance=float(chances[asked].mean()),
            note=f"backbone, cosine; gallery: {len(gallery.classes):,} boxes",
            cluster="image",
        )
    return rows


def _neighbours(
    devkit: Path,
    queries: _Objects,
    gallery: _Objects,
    known: npt.NDArray[np.int64],
    found: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
) -> list[Neighbour]:
    """Pictures of a few queries and what they found; `known` (n,): the rows of queries to choose from."""
    classes = np.unique(queries.classes[known], return_inverse=True)[1]
    chosen = known[choose_queries(classes, queries.images[known], seed)]
    near = np.unique(np.concatenate([rows[chosen, :NEIGHBOURS].ravel() for rows in found.values()]))

    def item(objects: _Objects, row: int) -> Item:
        box, name = objects.boxes[row], objects.names[objects.images[row]]
        return Item(name, box.name, encode_jpeg(squeezed(cut_square(read_image(devkit, name), box), _PICTURE_PX)))

    return neighbour_rows(
        range(len(chosen)),
        {kind: features[chosen] for kind, features in queries.features.items()},
        {kind: features[near] for kind, features in gallery.features.items()},
        np.ones((len(chosen), len(near)), np.bool_),
        queries.classes[chosen][:, None] == gallery.classes[near][None, :],
        lambda index: item(queries, int(chosen[index])),
        lambda index: item(gallery, int(near[index])),
    )
