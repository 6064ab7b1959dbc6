"""What of a benchmark's scores is drawn by class and by layer, filters as pictures, and scores in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tasks.evaluate.features
from tasks.evaluate.breakdown import breakdowns, whole_scores
from tasks.evaluate.features import load_extractors
from tasks.evaluate.filters import draw_filters
from tasks.evaluate.forest import amount, bounds, forests
from tasks.evaluate.judged import Judged
from tasks.evaluate.pixels import colour_features, pixel_features
from tasks.evaluate.scores import Score
from tasks.networks.building import build_network
from tasks.networks.images import to_tensor
from tasks.networks.weights import NetworkSpec, untrained_network


def _score(benchmark: str, metric: str, features: str = "trained", **changes: object) -> Score:
    score = Score(benchmark, metric, features, 0.5, 0.4, 0.6, 350, 350, "image", 0.1, "note")
    return replace(score, **changes)  # type: ignore[arg-type]


def test_classes_and_layers_are_told_apart_from_what_stands_for_all() -> None:
    metrics = ["mAP", "mAP, 11 points", "mAP, conv3", "AP car", "AP <b>", "AP car, 11 points"]
    scores = [_score("voc_classification", metric, kind) for metric in metrics for kind in ("trained", "untrained")]
    scores += [_score("retrieval", "recall@1"), _score("retrieval", "recall@1 in its video")]
    scores += [_score("voc_retrieval", "precision@20"), _score("voc_retrieval", "precision@20 car")]
    found = breakdowns(scores)
    assert [(one.benchmark, one.title) for one in found] == [
        ("voc_classification", "mAP by layer"),
        ("voc_classification", "mAP by class"),
        ("voc_retrieval", "precision@20 by class"),
    ]
    assert "conv3" in found[0].svg
    assert "car" in found[1].svg
    assert "&lt;b&gt;" in found[1].svg
    assert "<b>" not in found[1].svg
    whole = {(score.benchmark, score.metric) for score in whole_scores(scores)}
    assert whole == {
        ("voc_classification", "mAP"),
        ("retrieval", "recall@1"),
        ("retrieval", "recall@1 in its video"),
        ("voc_retrieval", "precision@20"),
    }


def test_degrees_are_shown_as_degrees_and_fewer_are_better() -> None:
    trained = _score("normals", "mean angle", unit="degrees", value=31.25, low=30.0, high=33.0, chance=None)
    less = replace(trained, features="trained - untrained", value=-2.0, low=-3.0, high=-1.0)
    assert (amount(trained), bounds(trained)) == ("31.2°", "30.0 to 33.0°")
    assert (amount(less), bounds(less)) == ("−2.0", "−3.0 to −1.0")
    (plot,) = forests([trained, less])
    assert plot.unit == "degrees"
    assert plot.differences[0].verdict == "better"
    assert plot.differences[0].points == "−2.0"
    assert plot.marks[0].value == "31.2°"
    assert 0 <= plot.marks[0].low < plot.marks[0].at < plot.marks[0].high <= 100  # type: ignore[operator]
    share = _score("b", "m")
    assert (amount(share), bounds(share)) == ("50.0 %", "40.0 to 60.0 %")
    assert amount(replace(share, value=None)) == "–"
    assert forests([share])[0].unit == "%"


@pytest.mark.parametrize(("name", "filters"), [("small", 24), ("caffenet", 96)])
def test_filters_are_tiles_of_a_sheet(name: str, filters: int) -> None:
    sheet = draw_filters(build_network(name, 16, 0))
    side = int(np.ceil(np.sqrt(filters)))
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] == sheet.shape[1] == side * (sheet.shape[0] // side)
    tile = sheet[: sheet.shape[0] // side - 4, : sheet.shape[0] // side - 4]
    assert tile.min() == 0, "each filter has its whole range"
    assert tile.max() == 255


def test_a_network_of_a_smaller_input_scales_down_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {"trained": NetworkSpec("small", 16, 64, 0), "supervised": NetworkSpec("small", 16, 32, 0)}
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        tasks.evaluate.features, "to_tensor", lambda images: (seen.append(images.shape), to_tensor(images))[1]
    )
    judged = Judged({name: untrained_network(spec) for name, spec in specs.items()}, specs)
    extractors = load_extractors(judged, "backbone", torch.device("cpu"))
    for side in (judged.side_px, 96):
        images = np.random.default_rng(0).integers(0, 255, (2, side, side, 3), dtype=np.uint8)
        for name in specs:
            assert extractors[name](images).shape == (2, 2064)
    assert [shape[1] for shape in seen] == [64, 32, 96, 48]


def test_the_simplest_features_are_of_colour_and_place() -> None:
    images = np.zeros((2, 40, 40, 3), np.uint8)
    images[0, :, 20:] = (255, 0, 0)
    images[1, :, :20] = (255, 0, 0)
    colours, pixels = colour_features(images), pixel_features(images)
    assert colours.shape == (2, 64)
    np.testing.assert_allclose((colours**2).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(colours[0], colours[1])
    assert pixels.shape == (2, 768)
    assert not np.array_equal(pixels[0], pixels[1])
    assert (pixels.min(), pixels.max()) == (0, 1)
