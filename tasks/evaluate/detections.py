"""From scores of regions to detections and their average precision, with intervals over test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.bootstrap import draw_columns
from tasks.evaluate.average_precision import Detections, Ranking, Truths, match_detections, mean_over_classes
from tasks.evaluate.overlap import overlaps, sized, suppress
from tasks.evaluate.scores import SEED, Score, no_score, resampled_rows
from tasks.evaluate.windows import Annotated
from tasks.records import BOX

RegionScores = npt.NDArray[np.float32]  # (P, C): more is more likely

DETECTIONS_SCHEMA = pa.schema(
    [
        ("features", pa.string()),
        ("image", pa.string()),
        ("class", pa.string()),
        ("score", pa.float32()),
        ("box", BOX),
    ]
)
CURVE_SCHEMA = pa.schema(
    [
        ("features", pa.string()),
        ("class", pa.string()),
        ("recall", pa.list_(pa.float64())),
        ("precision", pa.list_(pa.float64())),
    ]
)
_CURVE_POINTS = 200
SHOWN_AN_IMAGE = 100  # detections of an image that are stored; the figures count all
LEAST_OBJECTS = 10  # of a class in the test images, below which its figure would be noise
_SUPPRESSED_ABOVE = 0.3  # R-CNN's
_MOST_OF_A_CLASS = 100  # R-CNN's, an image
# Of `AveragePrecision`: what a metric's name is continued by, and what it is.
_FORMS = {
    "area": ("", "area under the precision-recall curve (VOC 2010 on)"),
    "eleven": (", 11 points", "at 11 recalls (VOC 2007)"),
}

Row = dict[str, Any]


class Found:
    """What one kind of features found in the test images, image by image."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._images: list[list[npt.NDArray[np.int64]]] = [[] for _ in classes]
        self._scores: list[list[npt.NDArray[np.float32]]] = [[] for _ in classes]
        self._matches: list[list[npt.NDArray[np.int8]]] = [[] for _ in classes]

    def add(
        self, number: int, image: Annotated, shared: npt.NDArray[np.float32], scores: RegionScores
    ) -> list[tuple[float, str, list[float]]]:
        """Suppress and match the proposals of test image `number`, by class; returns (score, class, box) of the best.

        shared: (P, P) overlaps of the proposals; scores: (P, C).
        """
        best: list[tuple[float, str, list[float]]] = []
        for place, name in enumerate(self._classes):
            of_class = scores[:, place]
            kept = suppress(shared, of_class, _SUPPRESSED_ABOVE, _MOST_OF_A_CLASS)
            boxes, mine = image.proposals[kept], image.classes == place + 1
            zeros = np.zeros(len(kept), np.int64)
            truths = Truths(np.zeros(int(mine.sum()), np.int64), image.objects[mine], image.difficult[mine])
            self._images[place].append(zeros + number)
            self._scores[place].append(of_class[kept])
            self._matches[place].append(match_detections(Detections(zeros, of_class[kept], boxes), truths))
            best += zip(of_class[kept].tolist(), [name] * len(kept), sized(boxes).tolist(), strict=True)
        best.sort(key=lambda row: -row[0])
        return best[:SHOWN_AN_IMAGE]

    def ranking(self, place: int, positives: npt.NDArray[np.int64]) -> Ranking:
        """The detections of a class; positives: (I,) its objects in each image."""
        images, scores, matches = self._images[place], self._scores[place], self._matches[place]
        return Ranking(np.concatenate(images), np.concatenate(scores), np.concatenate(matches), positives)


class Tally:
    """The test images, and what each kind of features found in them."""

    def __init__(self, classes: Sequence[str], kinds: Sequence[str]) -> None:
        self._classes = classes
        self._found = {kind: Found(classes) for kind in kinds}
        self._positives: list[npt.NDArray[np.int64]] = []

    @property
    def num_images(self) -> int:
        return len(self._positives)

    def add(self, image: Annotated, scores: Mapping[str, RegionScores]) -> list[Row]:
        """Count an image, its regions scored (P, C) by kind; returns its best detections as in DETECTIONS_SCHEMA."""
        shared, number = overlaps(image.proposals, image.proposals), len(self._positives)
        counted = image.classes[~image.difficult]
        self._positives.append(np.bincount(counted, minlength=len(self._classes) + 1)[1:])
        return [
            {"features": kind, "image": image.name, "class": name, "score": score, "box": box}
            for kind, found in self._found.items()
            for score, name, box in found.add(number, image, shared, scores[kind])
        ]

    def curves(self) -> list[dict[str, Any]]:
        """Rows of CURVE_SCHEMA: of every class with a figure, and every kind of features."""
        positives = np.stack(self._positives)
        rows = []
        for kind, found in self._found.items():
            for place, name in enumerate(self._classes):
                if positives[:, place].sum() >= LEAST_OBJECTS:
                    recall, precision = found.ranking(place, positives[:, place]).curve(_CURVE_POINTS)
                    rows.append({"features": kind, "class": name, "recall": recall, "precision": precision})
        return rows

    def rows(
        self,
        benchmark: str,
        trained_on: Sequence[str],
        *,
        samples: int,
        subset: str,
        note: str,
    ) -> list[Score]:
        """Average precision, of each class that has enough test objects and is among `trained_on`, and its mean."""
        positives = np.stack(self._positives) if self._positives else np.zeros((0, len(self._classes)), np.int64)
        known = [
            place
            for place, name in enumerate(self._classes)
            if positives[:, place].sum() >= LEAST_OBJECTS and name in trained_on
        ]
        if not known:
            reason = f"no class has {LEAST_OBJECTS} objects in the {self.num_images} test images, and one to train on"
            return [no_score(benchmark, "mAP", reason, self.num_images)]
        drawn = draw_columns(self.num_images, samples, SEED)
        resampled = {
            kind: [found.ranking(place, positives[:, place]).resampled(drawn) for place in known]
            for kind, found in self._found.items()
        }
        named = ", ".join(self._classes[place] for place in known)
        meant = f"mean over {len(known)} of {len(self._classes)} classes: {named}"
        rows: list[Score] = []
        for form, (suffix, told) in _FORMS.items():
            means = {kind: mean_over_classes([each[form] for each in by_class]) for kind, by_class in resampled.items()}
            words = f"{meant}; {told}; {note}"
            rows += resampled_rows(benchmark, f"mAP{suffix}", means, self.num_images, note=words, subset=subset)
        for form, (suffix, told) in _FORMS.items():
            for index, place in enumerate(known):
                single = {kind: by_class[index][form] for kind, by_class in resampled.items()}
                metric = f"AP {self._classes[place]}{suffix}"
                words = f"{positives[:, place].sum()} objects; {told}; {note}"
                rows += resampled_rows(benchmark, metric, single, self.num_images, note=words, subset=subset)
        for place, name in enumerate(self._classes):
            if place not in known:
                objects = int(positives[:, place].sum())
                why = f"{objects} objects in the test images, {LEAST_OBJECTS} give a figure"
                why = why if name in trained_on else "no object to train on"
                rows.append(no_score(benchmark, f"AP {name}", why, self.num_images))
        return rows
