"""The summary of an audit: shares, intervals by video, medians and quantiles of the rows behind it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tasks.bootstrap import cluster_interval
from tasks.noise import measure_noise, noise_from_json


def _row(video: int, cause: str = "", accepted: bool = True, **errors: float | None) -> dict[str, Any]:
    known = {"centre_error_px": 4.0, "centre_error_share": 0.1, "scale_error": -0.2, "iou": 0.8}
    reason = "" if accepted else "lost"
    return {
        "video": video,
        "accepted": accepted,
        "reason": reason,
        "possible": cause != "cut",
        "right": not cause,
        "cause": cause,
        **known,
        **errors,
    }


def test_shares_medians_and_quantiles() -> None:
    nowhere = {"centre_error_px": None, "centre_error_share": None, "scale_error": None, "iou": 0.0}
    rows = [
        _row(0),
        _row(0, centre_error_px=6.0, iou=0.6),
        _row(1, centre_error_px=2.0),
        _row(1, "drift", centre_error_px=30.0, scale_error=0.4, iou=0.1),
        _row(2, "cut", **nowhere),
        _row(2, accepted=False),
        _row(2, "drift", accepted=False),
        _row(2, accepted=False) | {"reason": "video_end"},
    ]
    noise = measure_noise(rows, "klt", 4, 20, seed=0)
    assert (noise.windows, noise.accepted, noise.right, noise.possible, noise.found) == (20, 5, 3, 6, 3)
    assert noise.wrong_share == pytest.approx(0.4)
    right, drift, cut = noise.causes
    assert (right.cause, right.tracks, right.share, right.centre_error_px, right.iou) == ("right", 3, 0.6, 4.0, 0.8)
    assert right.scale_error == 0.2, "of absolute logs"
    assert right.scale_factor == pytest.approx(math.exp(0.2))
    assert (drift.cause, drift.tracks, drift.centre_error_px) == ("drift", 1, 30.0)
    assert (cut.cause, cut.share, cut.iou, cut.scale_factor) == ("cut", 0.2, None, None)
    by_measure = {row.measure: row for row in noise.quantiles}
    assert by_measure["centre_error_px"].median == 5.0
    assert by_measure["centre_error_px"].worst_tenth == pytest.approx(np.quantile([4, 6, 2, 30], 0.9))
    assert by_measure["iou"].worst_tenth == pytest.approx(np.quantile([0.8, 0.6, 0.8, 0.1], 0.1), abs=1e-4)


def test_the_interval_is_by_video() -> None:
    random = np.random.default_rng(0)
    videos = np.repeat(np.arange(12), 10)
    wrong = random.random(120) < np.repeat(random.uniform(0, 0.6, 12), 10)
    noise = measure_noise(
        [_row(int(v), "drift" if w else "") for v, w in zip(videos, wrong, strict=True)], "x", 12, 120, 3
    )
    expected = cluster_interval(wrong.astype(float), videos, 2000, 3)
    assert (noise.wrong_share, noise.low, noise.high) == (expected.value, expected.low, expected.high)
    assert noise.low is not None
    assert noise.high is not None
    by_track = cluster_interval(wrong.astype(float), np.arange(120), 2000, 3)
    assert by_track.low is not None
    assert by_track.high is not None
    assert noise.high - noise.low > by_track.high - by_track.low


def test_too_little_to_tell_is_told_as_none() -> None:
    none = measure_noise([], "klt", 1, 0, 0)
    assert (none.accepted, none.wrong_share, none.low, none.causes, none.quantiles) == (0, None, None, (), ())
    one = measure_noise([_row(0)], "klt", 1, 5, 0)
    assert (one.wrong_share, one.low, one.high) == (0.0, None, None)


def test_json_and_back() -> None:
    noise = measure_noise([_row(0), _row(1, "scale")], "klt", 2, 9, 0)
    assert noise_from_json(json.loads(json.dumps(noise.to_json()))) == noise
    for broken, error in ((None, TypeError), ({}, KeyError), ({"causes": [], "quantiles": []}, TypeError)):
        with pytest.raises(error):
            noise_from_json(broken)
