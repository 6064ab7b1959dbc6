"""PASCAL VOC's average precision in plain Python, one detection after the other, from the devkit's description.

Boxes are the devkit's: (xmin, ymin, xmax, ymax) with both end pixels included. Tests and benches compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence

DevkitBox = tuple[float, float, float, float]


def detection_curve(
    detections: Sequence[tuple[int, float, DevkitBox]], truths: Sequence[tuple[int, DevkitBox, bool]]
) -> tuple[list[float], list[float]]:
    """Recall and precision after each detection (image, score, box), from the highest score on.

    truths: (image, box, difficult).
    """
    of_image: dict[int, list[int]] = {}
    for number, (image, _, _) in enumerate(truths):
        of_image.setdefault(image, []).append(number)
    taken: set[int] = set()
    true, false = [], []
    for image, _, box in sorted(detections, key=lambda each: -each[1]):
        most, best = float("-inf"), -1
        for number in of_image.get(image, []):
            if (overlap := _overlap(box, truths[number][1])) > most:
                most, best = overlap, number
        hit = most > 0.5
        ignored = hit and truths[best][2]
        first = hit and not ignored and best not in taken
        if first:
            taken.add(best)
        true.append(int(first))
        false.append(int(not first and not ignored))
    return curve(true, false, sum(not difficult for _, _, difficult in truths))


def classification_curve(scores: Sequence[float], labels: Sequence[int]) -> tuple[list[float], list[float]]:
    """As above for whole images; labels: 1 with the class, -1 without, 0 with difficult objects alone."""
    order = sorted(range(len(scores)), key=lambda each: -scores[each])
    true, false = [int(labels[each] > 0) for each in order], [int(labels[each] < 0) for each in order]
    return curve(true, false, sum(label > 0 for label in labels))


def curve(true: Sequence[int], false: Sequence[int], positives: int) -> tuple[list[float], list[float]]:
    recall, precision = [], []
    found = wrong = 0
    for right, missed in zip(true, false, strict=True):
        found, wrong = found + right, wrong + missed
        recall.append(found / positives)
        precision.append(found / max(found + wrong, 2.0**-52))
    return recall, precision


def eleven_point(recall: Sequence[float], precision: Sequence[float]) -> float:
    """The mean, over eleven recalls, of the highest precision there or further on."""
    points = [
        max((p for r, p in zip(recall, precision, strict=True) if r >= step * 0.1), default=0.0) for step in range(11)
    ]
    return sum(point / 11 for point in points)


def area(recall: Sequence[float], precision: Sequence[float]) -> float:
    """The area below the precision, made to fall only."""
    recalls, precisions = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for place in range(len(precisions) - 1, 0, -1):
        precisions[place - 1] = max(precisions[place - 1], precisions[place])
    return sum((recalls[place] - recalls[place - 1]) * precisions[place] for place in range(1, len(recalls)))


def _overlap(some: DevkitBox, other: DevkitBox) -> float:
    width = max(min(some[2], other[2]) - max(some[0], other[0]) + 1, 0)
    height = max(min(some[3], other[3]) - max(some[1], other[1]) + 1, 0)
    both = width * height
    areas = [(right - left + 1) * (bottom - top + 1) for left, top, right, bottom in (some, other)]
    return both / (areas[0] + areas[1] - both)
