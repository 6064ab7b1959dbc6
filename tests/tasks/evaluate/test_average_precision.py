"""Average precision against the devkit's description in plain Python, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.average_precision import (
    FALSE,
    IGNORED,
    TRUE,
    Detections,
    Ranking,
    Truths,
    match_detections,
)
from tests.voc_devkit import DevkitBox, area, classification_curve, detection_curve, eleven_point

Found = list[tuple[int, float, DevkitBox]]
Given = list[tuple[int, DevkitBox, bool]]

NUM_IMAGES = 4
SQUARE = (1.0, 1.0, 10.0, 10.0)


def _half_open(boxes: list[DevkitBox]) -> np.ndarray:
    """The devkit's boxes, from 1 and with both ends, as edges from 0 without the ends."""
    return np.array(boxes, np.float64).reshape(-1, 4) - [1, 1, 0, 0]


def _records(found: Found, given: Given) -> tuple[Detections, Truths]:
    detections = Detections(
        np.array([image for image, _, _ in found], np.int64),
        np.array([score for _, score, _ in found], np.float64),
        _half_open([box for _, _, box in found]),
    )
    truths = Truths(
        np.array([image for image, _, _ in given], np.int64),
        _half_open([box for _, box, _ in given]),
        np.array([difficult for _, _, difficult in given], np.bool_),
    )
    return detections, truths


def _matches(found: Found, given: Given) -> list[int]:
    return match_detections(*_records(found, given)).tolist()


def _ranking(found: Found, given: Given) -> Ranking:
    detections, truths = _records(found, given)
    matches = match_detections(detections, truths)
    return Ranking(detections.images, detections.scores, matches, truths.positives(NUM_IMAGES))


def test_matches_by_hand() -> None:
    given: Given = [(0, SQUARE, False), (0, (101.0, 1.0, 110.0, 10.0), True)]
    assert _matches([(0, 0.5, SQUARE), (0, 0.9, SQUARE)], given) == [FALSE, TRUE], "a second match is false"
    assert _matches([(0, 0.5, SQUARE), (0, 0.5, SQUARE)], given) == [TRUE, FALSE], "of equals the first comes first"
    assert _matches([(0, 0.5, (101.0, 1.0, 110.0, 10.0))] * 2, given) == [IGNORED, IGNORED]
    assert _matches([(1, 0.5, SQUARE)], given) == [FALSE], "of another image"
    assert _matches([], given) == []
    assert _matches([(0, 0.5, SQUARE)], []) == [FALSE]


def test_an_overlap_of_a_half_is_none_and_widths_count_both_ends() -> None:
    given: Given = [(0, SQUARE, False)]
    assert _matches([(0, 1.0, (1.0, 1.0, 5.0, 10.0))], given) == [FALSE], "5 of 10 columns: exactly a half"
    assert _matches([(0, 1.0, (1.0, 1.0, 5.25, 10.0))], given) == [TRUE]
    assert _matches([(0, 1.0, (1.0, 1.0, 1.0, 1.0))], [(0, (1.0, 1.0, 1.0, 1.0), False)]) == [TRUE], "one pixel"


def test_a_taken_truth_is_not_passed_on() -> None:
    """Two truths beside each other: both detections overlap the first one most, so the second one is missed."""
    given: Given = [(0, (1.0, 1.0, 10.0, 10.0), False), (0, (4.0, 1.0, 13.0, 10.0), False)]
    assert _matches([(0, 0.9, (1.0, 1.0, 10.0, 10.0)), (0, 0.8, (2.0, 1.0, 11.0, 10.0))], given) == [TRUE, FALSE]


def test_average_precision_by_hand() -> None:
    """Ranked right, wrong, right of 3 to find: precision 1 up to a recall of 1/3, then 2/3 up to 2/3."""
    labels = np.array([TRUE, FALSE, TRUE, TRUE], np.int8)[:3]
    ranking = Ranking(np.arange(3), np.array([3.0, 2.0, 1.0]), labels, np.array([1, 0, 2]))
    eleven, area_below = ranking.average_precision()
    assert eleven == pytest.approx((4 * 1 + 3 * 2 / 3) / 11), "recalls 0 to 0.3, then 0.4 to 0.6"
    assert area_below == pytest.approx(1 / 3 + 2 / 9)
    recall, precision = ranking.curve(100)
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert precision.tolist() == pytest.approx([1, 2 / 3])
    assert ranking.curve(1)[0].tolist() == pytest.approx([1 / 3])


def test_the_recalls_are_the_devkits_float_steps() -> None:
    """3 of 10 found: a recall of 0.3 is below the fourth step, 0.30000000000000004."""
    matches = np.full(3, TRUE, np.int8)
    ranking = Ranking(np.zeros(3, np.int64), np.arange(3.0), matches, np.array([10]))
    assert ranking.average_precision().eleven == pytest.approx(3 / 11)
    assert ranking.average_precision().area == pytest.approx(0.3)


def test_nothing_to_find_has_no_figure() -> None:
    empty = Ranking(np.zeros(1, np.int64), np.zeros(1), np.array([FALSE], np.int8), np.array([0]))
    assert np.isnan(empty.average_precision()).all()
    missed = Ranking(np.zeros(1, np.int64), np.zeros(1), np.array([FALSE], np.int8), np.array([1]))
    assert missed.average_precision() == (0, 0)
    assert np.isnan(missed.average_precision(np.array([0]))).all(), "a draw without it"


_boxes = st.tuples(*[st.integers(1, 12)] * 2, *[st.integers(0, 8)] * 2).map(
    lambda box: (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
)
_images = st.integers(0, NUM_IMAGES - 1)
_found = st.lists(st.tuples(_images, st.integers(0, 9).map(float), _boxes), max_size=40)
_given = st.lists(st.tuples(_images, _boxes, st.booleans()), max_size=15)
_draws = st.lists(st.integers(0, 3), min_size=NUM_IMAGES, max_size=NUM_IMAGES)


@settings(deadline=None)
@given(_found, _given)
def test_detections_are_scored_as_the_devkit_does(found: Found, given: Given) -> None:
    value = _ranking(found, given).average_precision()
    if all(difficult for _, _, difficult in given):
        assert np.isnan(value).all()
    else:
        curve = detection_curve(found, given)
        assert value == pytest.approx((eleven_point(*curve), area(*curve)), abs=1e-12)


@settings(deadline=None)
@given(_found, _given, _draws)
def test_a_draw_counts_as_copies_of_its_images(found: Found, given: Given, draws: list[int]) -> None:
    """Each copy is an image of its own; copies of a detection stay beside each other."""
    copies = [NUM_IMAGES * copy for copy in range(max(draws))]
    many = [(image + copy, score, box) for image, score, box in found for copy in copies[: draws[image]]]
    truths = [(image + copy, box, hard) for image, box, hard in given for copy in copies[: draws[image]]]
    value = _ranking(found, given).average_precision(np.array(draws))
    if all(difficult for _, _, difficult in truths):
        assert np.isnan(value).all()
    else:
        curve = detection_curve(many, truths)
        assert value == pytest.approx((eleven_point(*curve), area(*curve)), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5).map(float), st.sampled_from([TRUE, IGNORED, FALSE])), max_size=40))
def test_images_are_classified_as_the_devkit_does(rows: list[tuple[float, int]]) -> None:
    scores, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows], np.int8)
    value = Ranking(np.arange(len(rows)), scores, labels, labels == TRUE).average_precision()
    if TRUE in labels:
        curve = classification_curve(scores.tolist(), labels.tolist())
        assert value == pytest.approx((eleven_point(*curve), area(*curve)), abs=1e-12)
    else:
        assert np.isnan(value).all()
