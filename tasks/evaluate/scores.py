"""Scores: one row a metric and kind of features, each with an interval, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.bootstrap import cluster_interval

FEATURES = ("trained", "untrained", "hog")
DIFFERENCES = (("trained", "untrained"), ("trained", "hog"))
FEW_VIDEOS = "one held-out video: no interval"


@dataclass(frozen=True)
class Score:
    """A row of SCORE_SCHEMA. `num_videos` counts independent videos: near-duplicates count as one."""

    benchmark: str
    metric: str
    features: str
    value: float | None
    low: float | None
    high: float | None
    num_items: int
    num_videos: int
    chance: float | None
    note: str


def score_rows(
    benchmark: str,
    metric: str,
    values: Mapping[str, npt.NDArray[np.floating]],
    clusters: npt.NDArray[np.integer],
    *,
    samples: int,
    seed: int,
    chance: float | None,
    note: str = "",
) -> list[Score]:
    """Rows of one metric from each item's value (N,) by kind of features, with the differences of pairs.

    All kinds are scored on the same items, and every interval draws the same resamples, so that the interval
    of a difference is that of a paired comparison: far tighter than two intervals laid side by side.
    """
    num_videos = len(np.unique(clusters))
    if num_videos < 2:
        note = f"{note}; {FEW_VIDEOS}" if note else FEW_VIDEOS
    measured: list[tuple[str, npt.NDArray[np.floating], float | None]] = [
        (name, values[name], chance) for name in FEATURES if name in values
    ]
    measured += [
        (f"{first} - {second}", values[first] - values[second], None)
        for first, second in DIFFERENCES
        if first in values and second in values
    ]
    rows = []
    for features, items, guess in measured:
        interval = cluster_interval(items, clusters, samples, seed)
        rows.append(
            Score(
                benchmark,
                metric,
                features,
                interval.value,
                interval.low,
                interval.high,
                len(items),
                num_videos,
                guess,
                note,
            )
        )
    return rows


def no_score(benchmark: str, metric: str, reason: str, num_items: int = 0) -> Score:
    """The row of a metric that could not be measured, and why."""
    return Score(benchmark, metric, "trained", None, None, None, num_items, 0, None, reason)
