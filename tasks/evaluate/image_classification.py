"""Classes of whole images by frozen features: accuracy of a linear probe of every layer, and of nearest neighbours."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.keys import JSON
from tasks.evaluate.context import Context, Result
from tasks.evaluate.image_sets import TEST, TRAIN, find_set, list_images, read_squares
from tasks.evaluate.probing import Images, Labelled, Labels, Part, note_of, ordered, part_of, probe_layers
from tasks.evaluate.ridge import Scores
from tasks.evaluate.scores import Score, score_rows
from tasks.evaluate.spill import Spill

NAME = "image_classification"


def run(context: Context) -> Result:
    """Accuracy on the test images, each of one class; classes are those of the training images.

    An image that cannot be read is left out and counted, and so is a test image of a class that training lacks.
    """
    folder = Path(context.data)
    places = [find_set(folder, roles) for roles in (TRAIN, TEST)]
    listed = [list_images(place) for place in places]
    classes = sorted({name for name, _ in listed[0]})
    if len(classes) < 2:
        raise ValueError(f"images: {str(places[0])!r} holds the class {classes[0]!r} alone; give at least two")
    unknown = [entry for entry in listed[1] if entry[0] not in classes]
    listed[1] = [entry for entry in listed[1] if entry[0] in classes]
    with tempfile.TemporaryDirectory(prefix="tritrack-images-") as scratch:
        train, test = (
            _read(context, place, entries, classes, Path(scratch) / f"{number}.raw")
            for number, (place, entries) in enumerate(zip(places, listed, strict=True))
        )
        answers = train.labels.argmax(axis=1)

        def accuracy(scores: Scores, rows: npt.NDArray[np.int64]) -> float:
            return float((scores.argmax(axis=1) == answers[rows]).mean())

        probed = probe_layers(context, train, test, context.config.image_classification_most_features, accuracy)
    counts = {
        "images_train": len(train.labels),
        "images_test": len(test.labels),
        "images_unreadable": sum(map(len, listed)) - len(train.labels) - len(test.labels),
        "images_of_unknown_class": len(unknown),
        "classes": len(classes),
    }
    facts: dict[str, JSON] = {"classes": list(classes), "strengths": probed.strengths}
    right = {
        part: {kind: found.argmax(axis=1) == test.labels.argmax(axis=1) for kind, found in of_kinds.items()}
        for part, of_kinds in probed.scores.items()
    }
    return Result(_scores(context, right, train.labels, test.labels), counts=counts, facts=facts)


def _read(context: Context, place: Path, entries: list[tuple[str, str]], classes: list[str], path: Path) -> Labelled:
    """The images of a set that can be read, as squares mapped from `path`."""
    squares, kept = Spill(path), []
    number_of = {name: number for number, name in enumerate(classes)}
    side_px = context.config.image_classification_input_px or context.judged.side_px
    read = read_squares(place, [name for _, name in entries], side_px)
    for done, ((name, _), square) in enumerate(zip(entries, read, strict=True)):
        context.progress(done, len(entries), f"images of {place.name}")
        if square is not None:
            squares.add(square[None])
            kept.append(number_of[name])
    if len(kept) < 2:
        raise ValueError(f"images: {str(place)!r} has {len(kept)} readable images of a class of training; give more")
    labels = np.where(np.arange(len(classes)) == np.asarray(kept)[:, None], 1, -1).astype(np.int8)
    images: Images = np.asarray(squares.mapped(), np.uint8)
    return Labelled(images, labels)


def _scores(
    context: Context,
    right: dict[Part, dict[str, npt.NDArray[np.bool_]]],
    learned: Labels,
    asked: Labels,
) -> list[Score]:
    commonest = (learned > 0).sum(axis=0).argmax()
    guess = max(1 / learned.shape[1], float((asked[:, commonest] > 0).mean()))
    rows: list[Score] = []
    for probe, layer in ordered(right):
        rows += score_rows(
            NAME,
            f"accuracy{part_of(probe, layer)}",
            {kind: values.astype(np.float64) for kind, values in right[probe, layer].items()},
            np.arange(len(asked)),
            samples=context.config.bootstrap_samples,
            chance=guess,
            note=note_of(probe, layer),
            cluster="image",
        )
    return rows
