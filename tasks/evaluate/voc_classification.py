"""Classes of VOC's images by frozen features: a linear probe of every layer, and the nearest neighbours."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.keys import JSON
from tasks.bootstrap import draw_columns
from tasks.evaluate.average_precision import AveragePrecision, Ranking, mean_over_classes
from tasks.evaluate.context import Context, Result
from tasks.evaluate.features import BACKBONE
from tasks.evaluate.probing import LINEAR, Images, Labelled, Labels, Part, note_of, ordered, part_of, probe_layers
from tasks.evaluate.ridge import Metric, Scores
from tasks.evaluate.scores import SEED, Score, no_score, resampled_rows
from tasks.evaluate.spill import Spill
from tasks.evaluate.voc_images import names_apart, readable_images
from tasks.networks.pictures import squeezed
from tasks.voc import Box

NAME = "voc_classification"
LEAST_POSITIVES = 10  # test images with a class; of fewer the average precision says little
_FORMS = {"area": "", "eleven": ", 11 points"}  # of `AveragePrecision`, and what a metric's name is continued by
_RANDOM_ORDERS = 100  # behind what guessing scores


def run(context: Context) -> Result:
    """Mean average precision, in both forms, of whole images squeezed to squares.

    Classes are those of the training split's annotations; an image with only `difficult` objects of a class does not
    count for it. An image that cannot be read is left out and counted.
    """
    devkit, config = Path(context.data), context.config
    splits = (config.voc_classification_train_split, config.voc_classification_test_split)
    named = names_apart(devkit, *splits)
    with tempfile.TemporaryDirectory(prefix="tritrack-voc-") as folder:
        sets = [
            _read(context, devkit, split, names, Path(folder) / f"{number}.raw")
            for number, (split, names) in enumerate(zip(splits, named, strict=True))
        ]
        classes = sorted({box.name for boxes in sets[0].boxes for box in boxes})
        if not classes:
            raise ValueError(f"voc: no image of split {splits[0]!r} of {str(devkit)!r} has an object; give another one")
        train, test = (Labelled(each.images, labels_of(each.boxes, classes)) for each in sets)
        probed = probe_layers(context, train, test, config.voc_classification_most_features, _mean_area(train.labels))
    counts = {
        "images_train": len(train.labels),
        "images_test": len(test.labels),
        "images_unreadable": sum(len(names) for names in named) - len(train.labels) - len(test.labels),
        "classes": len(classes),
    }
    known = [number for number in range(len(classes)) if (test.labels[:, number] > 0).sum() >= LEAST_POSITIVES]
    facts: dict[str, JSON] = {"classes": list(classes), "strengths": probed.strengths}
    return Result(_scores(context, probed.scores, test.labels, classes, known), counts=counts, facts=facts)


@dataclass(frozen=True)
class _Set:
    images: Images
    boxes: list[list[Box]]


def labels_of(boxes: Sequence[Sequence[Box]], classes: Sequence[str]) -> Labels:
    """(N, C): 1 where an image has an object of the class, 0 where it has only difficult ones, else -1."""
    labels = np.full((len(boxes), len(classes)), -1, np.int8)
    number_of = {name: number for number, name in enumerate(classes)}
    for row, found in enumerate(boxes):
        for box in found:
            if box.name in number_of:
                column = number_of[box.name]
                labels[row, column] = max(labels[row, column], 0 if box.difficult else 1)
    return labels


def _read(context: Context, devkit: Path, split: str, names: Sequence[str], path: Path) -> _Set:
    """The images of a split that can be read, as squares mapped from `path`, and their objects."""
    squares, boxes = Spill(path), []
    side_px = context.config.voc_classification_input_px or context.judged.side_px
    for _, found, image in readable_images(devkit, names, context.progress, f"images of {split}"):
        squares.add(squeezed(image, side_px)[None])
        boxes.append(found)
    if len(boxes) < 2:
        raise ValueError(f"voc: split {split!r} of {str(devkit)!r} has {len(boxes)} readable images; restore its files")
    return _Set(np.asarray(squares.mapped(), np.uint8), boxes)


def _mean_area(labels: Labels) -> Metric:
    """The mean over classes of the area form of the average precision, by which the penalty is chosen."""

    def metric(scores: Scores, rows: npt.NDArray[np.int64]) -> float:
        areas = [ranking.average_precision().area for ranking in rankings(scores, labels[rows])]
        return float(np.nanmean(areas)) if np.isfinite(areas).any() else 0.0

    return metric


def rankings(scores: Scores, labels: Labels) -> list[Ranking]:
    """One a class, of scores and labels (N, C)."""
    images = np.arange(len(labels))
    return [Ranking(images, score, label, label > 0) for score, label in zip(scores.T, labels.T, strict=True)]


def _scores(
    context: Context,
    scores: Mapping[Part, Mapping[str, Scores]],
    labels: Labels,
    classes: Sequence[str],
    known: Sequence[int],
) -> list[Score]:
    """Rows of the mean over classes by probe and layer, and of each class by the linear probe of the backbone."""
    few = [name for number, name in enumerate(classes) if number not in known]
    reason = f"fewer than {LEAST_POSITIVES} test images with the class"
    if not known:
        return [no_score(NAME, f"mAP{form}", f"{reason}, of every class", len(labels)) for form in _FORMS.values()]
    drawn = draw_columns(len(labels), context.config.bootstrap_samples, SEED)
    chances = _chances(labels[:, known], context.seed)
    note = f"whole images squeezed to squares; mean over {len(known)} classes"
    if few:
        note += f", without {', '.join(few)}: {reason}"
    rows: list[Score] = []
    for done, (probe, layer) in enumerate(ordered(scores)):
        context.progress(done, len(scores), "intervals")
        values = {
            kind: [ranking.resampled(drawn) for ranking in rankings(found[:, known], labels[:, known])]
            for kind, found in scores[probe, layer].items()
        }
        part = part_of(probe, layer)
        for form, suffix in _FORMS.items():
            means = {kind: mean_over_classes([each[form] for each in by_class]) for kind, by_class in values.items()}
            told = f"{note_of(probe, layer)}; {note}"
            chance = float(np.mean([each[form] for each in chances]))
            rows += resampled_rows(NAME, f"mAP{part}{suffix}", means, len(labels), chance=chance, note=told)
        if not part:
            of_classes = values
    for form, suffix in _FORMS.items():
        for place, number in enumerate(known):
            one = {kind: by_class[place][form] for kind, by_class in of_classes.items()}
            told = f"{note_of(LINEAR, BACKBONE)}; {(labels[:, number] > 0).sum()} test images with it"
            metric, chance = f"AP {classes[number]}{suffix}", float(chances[place][form])
            rows += resampled_rows(NAME, metric, one, len(labels), chance=chance, note=told)
    return rows + [no_score(NAME, f"AP {name}", reason, len(labels)) for name in few]


def _chances(labels: Labels, seed: int) -> list[dict[str, float]]:
    """What random orders score on average, by class and form."""
    random = np.random.default_rng(seed)
    found = np.mean(
        [
            [ranking.average_precision() for ranking in rankings(random.random(labels.shape, np.float32), labels)]
            for _ in range(_RANDOM_ORDERS)
        ],
        axis=0,
    )
    return [dict(zip(AveragePrecision._fields, each, strict=True)) for each in found.tolist()]
