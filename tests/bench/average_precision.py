"""VOC average precision beside the devkit's in plain Python: seconds and figures by the number of detections.

    python -m tests.bench.average_precision [--detections 10000 100000 1000000]

`draw` is one resample of the bootstrap, whose ranking is sorted once.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.evaluate.average_precision import Detections, Ranking, Truths, match_detections
from tests.voc_devkit import area, detection_curve, eleven_point

_DETECTIONS_AN_IMAGE = 100
_TRUTHS_AN_IMAGE = 3
_FIRST_PIXEL = np.array([1, 1, 0, 0])  # the devkit counts from 1, and both ends


def main() -> int:
    """Measure every number of detections, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detections", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    table = Table("detections", "devkit s", "ours s", "times", "draw ms", "AP 11", "AP area", "same")
    for number in parser.parse_args().detections:
        table.add_row(*_measure(number))
    Console(width=120).print(table)
    return 0


def _measure(number: int) -> list[str]:
    detections, truths, num_images = _made(number)
    started = time.perf_counter()
    matches = match_detections(detections, truths)
    ranking = Ranking(detections.images, detections.scores, matches, truths.positives(num_images))
    figures = ranking.average_precision()
    ours = time.perf_counter() - started
    draws = np.random.default_rng(0).multinomial(num_images, np.full(num_images, 1 / num_images))
    started = time.perf_counter()
    ranking.average_precision(draws)
    drawn = time.perf_counter() - started
    found = list(
        zip(
            detections.images.tolist(),
            detections.scores.tolist(),
            map(tuple, (detections.boxes + _FIRST_PIXEL).tolist()),
            strict=True,
        )
    )
    given = list(
        zip(
            truths.images.tolist(),
            map(tuple, (truths.boxes + _FIRST_PIXEL).tolist()),
            truths.difficult.tolist(),
            strict=True,
        )
    )
    started = time.perf_counter()
    curve = detection_curve(found, given)
    expected = (eleven_point(*curve), area(*curve))
    theirs = time.perf_counter() - started
    return [
        f"{number:,}",
        f"{theirs:.2f}",
        f"{ours:.3f}",
        f"{theirs / ours:.0f}",
        f"{1000 * drawn:.1f}",
        f"{figures.eleven:.4f}",
        f"{figures.area:.4f}",
        "yes" if np.allclose(figures, expected, rtol=0, atol=1e-12) else "NO",
    ]


def _made(number: int) -> tuple[Detections, Truths, int]:
    """Boxes about true ones, near or far, with scores that know which only roughly; a tenth of truths is difficult."""
    random = np.random.default_rng(number)
    num_images = max(1, number // _DETECTIONS_AN_IMAGE)
    num_truths = num_images * _TRUTHS_AN_IMAGE
    corners = random.integers(0, 300, (num_truths, 2))
    true_boxes = np.concatenate([corners, corners + random.integers(20, 200, (num_truths, 2))], axis=1)
    truths = Truths(np.repeat(np.arange(num_images), _TRUTHS_AN_IMAGE), true_boxes, random.random(num_truths) < 0.1)
    of_truth = random.integers(0, num_truths, number)
    spread = random.choice([3, 80], number, p=[0.05, 0.95])
    moved = np.round(random.normal(size=(number, 4)) * spread[:, None])
    boxes = true_boxes[of_truth] + moved
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    scores = random.normal(size=number) - spread / 40
    return Detections(truths.images[of_truth], scores, boxes), truths, num_images


if __name__ == "__main__":
    raise SystemExit(main())
