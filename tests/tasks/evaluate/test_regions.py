"""Regions: overlaps and suppression, warping with context, labels and draws, machines with hard negatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.ahead import ahead
from tasks.evaluate.hard_negatives import Machines
from tasks.evaluate.overlap import Boxes, overlaps, suppress
from tasks.evaluate.proposals import selective_search
from tasks.evaluate.warping import warp_region, warp_regions
from tasks.evaluate.windows import BACKGROUND, IGNORED, Annotated, Windows, draw_step, label_windows
from tasks.networks.images import MEAN_RGB

_EDGE = st.integers(0, 12)
_BOX = st.tuples(_EDGE, _EDGE, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
_SCORED = st.lists(st.tuples(_BOX, st.integers(0, 5)), min_size=1, max_size=12)


def _boxes(*edges: tuple[float, ...]) -> Boxes:
    return np.asarray(edges, np.float32).reshape(-1, 4)


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Overlap by counting cells."""
    cells = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (a, b)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


@settings(max_examples=50, deadline=None)
@given(_SCORED, st.sampled_from([0.1, 0.3, 0.5]), st.integers(1, 12))
def test_suppression_as_a_slow_reference_does_it(
    scored: list[tuple[tuple[int, ...], int]], threshold: float, most: int
) -> None:
    boxes, scores = _boxes(*(box for box, _ in scored)), np.asarray([score for _, score in scored], np.float32)
    kept: list[int] = []
    for index in sorted(range(len(scored)), key=lambda each: -scored[each][1]):
        if all(_shared(scored[index][0], scored[other][0]) <= threshold for other in kept):
            kept.append(index)
    shared = overlaps(boxes, boxes)
    assert shared == pytest.approx(np.asarray([[_shared(a, b) for b, _ in scored] for a, _ in scored]), abs=1e-6)
    assert suppress(shared, scores, threshold, most).tolist() == kept[:most]


def test_a_region_fills_the_square_but_for_its_context() -> None:
    image = np.full((100, 100, 3), 50, np.uint8)
    image[20:80, 30:70] = 200
    # At 227 px the rim is R-CNN's 16 px: 40 of 60 px become 195 of 227, and so do 60.
    region = warp_region(image, _boxes((30, 20, 70, 80))[0], 227)
    bright = region[:, :, 0] > 125
    rows, columns = np.nonzero(bright.any(axis=1))[0], np.nonzero(bright.any(axis=0))[0]
    assert [rows.min(), columns.min()] == pytest.approx([16, 16], abs=3)
    assert [rows.max(), columns.max()] == pytest.approx([210, 210], abs=3)


def test_beyond_the_edge_of_the_image_stands_the_mean_colour() -> None:
    image = np.full((64, 64, 3), 255, np.uint8)
    mean = np.round(MEAN_RGB)
    # Of 42 px, widened by 42 / 54 * 64 (a rim of 5 px): from -4 to 46, 50 px for 64.
    region = warp_region(image, _boxes((0, 0, 42, 42))[0], 64)
    assert (region[:5, :] == mean).all()
    assert (region[:, :5] == mean).all()
    assert (region[5:, 5:] == 255).all()
    low = warp_region(image, _boxes((22, 22, 64, 64))[0], 64)
    assert (low[-5:, :] == mean).all()
    assert (low[:-5, :-5] == 255).all()
    whole = warp_region(image, _boxes((10, 10, 20, 20))[0], 64)
    assert (whole == 255).all()


def test_any_box_gives_a_square() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    boxes = _boxes((0, 0, 7, 5), (6, 4, 7, 5), (0, 0, 0.2, 5), (3, 3, 3, 3), (-9, -9, 30, 30))
    assert warp_regions(image, boxes, 32).shape == (5, 32, 32, 3)
    assert warp_regions(image, boxes[:0], 32).shape == (0, 32, 32, 3)


def _annotated() -> Annotated:
    return Annotated(
        "a",
        _boxes((0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)),
        np.asarray([2, 1, 1]),
        np.asarray([False, False, True]),
        _boxes((0, 0, 10, 6), (0, 0, 10, 4), (20, 0, 30, 5), (50, 50, 60, 58), (80, 80, 90, 90)),
    )


def test_labels_go_by_the_object_that_a_region_overlaps_most() -> None:
    windows = label_windows(_annotated())
    assert windows.labels.tolist() == [2, 1, IGNORED, 2, BACKGROUND, 1, IGNORED, BACKGROUND]
    bare = Annotated("b", _boxes(), np.zeros(0, np.int64), np.zeros(0, np.bool_), _boxes((0, 0, 5, 5)))
    assert label_windows(bare).labels.tolist() == [BACKGROUND]


def _windows(*labels: list[int]) -> list[Windows]:
    return [
        Windows(str(number), np.arange(4 * len(each), dtype=np.float32).reshape(-1, 4), np.asarray(each))
        for number, each in enumerate(labels)
    ]


def test_a_quarter_of_a_step_are_examples_of_classes() -> None:
    images = _windows([1] * 30 + [0] * 90 + [-1] * 9, [2] * 20 + [0] * 50, [0] * 40)
    seen: set[str] = set()
    mirrored = 0
    for step in range(20):
        draws = draw_step(images, 2, 64, seed=3, step=step)
        labels = np.concatenate([draw.labels for draw in draws])
        assert len(labels) == 64
        assert (labels > 0).sum() == 16
        assert IGNORED not in labels
        assert len(draws) <= 2
        for draw in draws:
            rows = draw.boxes[:, 0].astype(int) // 4
            assert (images[int(draw.name)].labels[rows] == draw.labels).all()
            assert len(set(rows.tolist())) == len(rows)
        seen |= {draw.name for draw in draws}
        mirrored += sum(int(draw.mirrored.sum()) for draw in draws)
    assert seen == {"0", "1", "2"}
    assert 0.4 < mirrored / (20 * 64) < 0.6


def test_steps_are_a_pure_function_and_few_regions_are_drawn_again() -> None:
    images = _windows([1, 0, 0], [0, 0])
    first, again = (draw_step(images, 9, 8, seed=1, step=5) for _ in range(2))
    assert [draw.boxes.tolist() for draw in first] == [draw.boxes.tolist() for draw in again]
    assert sum(len(draw.labels) for draw in first) == 8
    only = draw_step(_windows([1, 1]), 1, 8, seed=1, step=0)
    assert np.concatenate([draw.labels for draw in only]).tolist() == [1] * 8
    none = draw_step(_windows([0, 0]), 1, 8, seed=1, step=0)
    assert np.concatenate([draw.labels for draw in none]).tolist() == [0] * 8


def test_machines_learn_from_the_negatives_that_are_hard() -> None:
    rng = np.random.default_rng(0)
    machines = Machines(2, seed=0)
    images, features = [], []
    for number in range(30):
        objects = rng.normal(size=(1, 16)).astype(np.float32) + 4 * np.eye(1, 16, dtype=np.float32)
        proposals = rng.normal(size=(150, 16)).astype(np.float32)
        far = _boxes(*[(20 + each, 20, 30 + each, 30) for each in range(150)])
        image = Annotated(str(number), _boxes((0, 0, 9, 9)), np.asarray([1]), np.asarray([False]), far)
        images.append(image)
        features.append(proposals)
        machines.add_objects(image, objects)
    for image, proposals in zip(images, features, strict=True):
        machines.add_proposals(image, proposals)
    machines.finish()
    scores = machines.scores(np.concatenate([4 * np.eye(1, 16, dtype=np.float32), *features]))
    assert scores[0, 0] > np.quantile(scores[1:, 0], 0.99)
    assert (scores[:, 1] < scores[:, 0].min()).all(), "no example told of the second class"


def test_proposals_are_the_same_whatever_ran_before() -> None:
    rng = np.random.default_rng(1)
    image = np.repeat(np.repeat(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), 16, axis=0), 16, axis=1)
    first = selective_search(image, 500)
    selective_search(image[::-1].copy(), 500)
    assert np.array_equal(first, selective_search(image, 500))
    assert len(first) > 5
    assert (first >= 0).all()
    assert first[:, 2].max() <= 128
    assert first[:, 3].max() <= 96
    assert ((first[:, 2:] - first[:, :2]).min(axis=1) >= 16).all()
    small = selective_search(image, 64)
    assert small[:, 2].max() == pytest.approx(128, abs=2), "in px of the image as it is"
    assert selective_search(np.zeros((3, 200, 3), np.uint8), 100).tolist() == [[0, 0, 200, 3]]


def test_what_comes_next_is_made_ahead_and_its_error_is_raised() -> None:
    assert list(ahead(range(5))) == list(range(5))

    def failing() -> object:
        yield 1
        raise ValueError("damaged")

    items = ahead(failing())  # type: ignore[arg-type,var-annotated]
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)
