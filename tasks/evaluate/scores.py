"""Scores: one row a metric and kind of features, each with an interval, and the paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.bootstrap import Interval, Statistic, cluster_interval, resample

FEATURES = ("trained", "untrained", "supervised", "hog", "colour", "pixels", "copied", "by_place", "constant")
"""Some are none, but what can be said without any: `copied`, the first mask in every frame; `by_place`, the mean normal
of a place in the image; `constant`, the mean normal."""
Unit = Literal["share", "degrees"]
FEW = "one {cluster}: no interval"


@dataclass(frozen=True)
class Score:
    """A row of SCORE_SCHEMA.

    `num_clusters` counts what the interval is drawn over, `cluster` says what that is: independent held-out videos
    (near-duplicates count as one) or images. `subset` says so where the figure is not one of the whole set. `unit`: a
    share of 1, of which more is better, or degrees, of which less is.
    """

    benchmark: str
    metric: str
    features: str
    value: float | None
    low: float | None
    high: float | None
    num_items: int
    num_clusters: int
    cluster: str
    chance: float | None
    note: str
    subset: str = ""
    unit: Unit = "share"


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
    cluster: str = "held-out video",
    subset: str = "",
) -> list[Score]:
    """Rows of one metric from each item's value (N,) by kind of features, with the differences to the trained one.

    All kinds are scored on the same items, and every interval draws the same resamples, so that the interval
    of a difference is that of a paired comparison: far tighter than two intervals laid side by side.
    """
    num_clusters = len(np.unique(clusters))
    row = _row(benchmark, metric, len(clusters), num_clusters, cluster, note, subset)
    known = [name for name in FEATURES if name in values]
    rows = [row(name, cluster_interval(values[name], clusters, samples, seed), chance) for name in known]
    for name in known:
        if name != "trained" and "trained" in values:
            apart = cluster_interval(values["trained"] - values[name], clusters, samples, seed)
            rows.append(row(f"trained - {name}", apart, None))
    return rows


def statistic_rows(
    benchmark: str,
    metric: str,
    statistics: Mapping[str, Statistic],
    num_items: int,
    *,
    samples: int,
    seed: int,
    chance: float | None = None,
    note: str = "",
    cluster: str = "image",
    subset: str = "",
    unit: Unit = "share",
) -> list[Score]:
    """As `score_rows`, for a metric that is no mean over items, such as an average precision.

    A statistic is given how often each of the items was drawn (N,), and gives the metric of that draw.
    """
    values = {name: resample(statistics[name], num_items, samples, seed) for name in FEATURES if name in statistics}
    row = _row(benchmark, metric, num_items, num_items, cluster, note, subset, unit)
    rows = [row(name, drawn.interval(), chance) for name, drawn in values.items()]
    rows += [
        row(f"trained - {name}", (values["trained"] - drawn).interval(), None)
        for name, drawn in values.items()
        if name != "trained" and "trained" in values
    ]
    return rows


def no_score(benchmark: str, metric: str, reason: str, num_items: int = 0) -> Score:
    """The row of a metric that could not be measured, and why."""
    return Score(benchmark, metric, "trained", None, None, None, num_items, 0, "", None, reason)


def _row(
    benchmark: str,
    metric: str,
    num_items: int,
    num_clusters: int,
    cluster: str,
    note: str,
    subset: str,
    unit: Unit = "share",
) -> Callable[[str, Interval, float | None], Score]:
    if num_clusters < 2:
        few = FEW.format(cluster=cluster)
        note = f"{note}; {few}" if note else few

    def row(features: str, interval: Interval, chance: float | None) -> Score:
        value, low, high = interval.value, interval.low, interval.high
        return Score(
            benchmark, metric, features, value, low, high, num_items, num_clusters, cluster, chance, note, subset, unit
        )

    return row
