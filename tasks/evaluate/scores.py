"""Scores: one row a metric and kind of features, each with an interval, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.bootstrap import Resampled, Statistic, resample, resample_means
from tasks.evaluate import FEATURES
from tasks.records import SCORE_SCHEMA

Unit = Literal["share", "degrees"]
Draws = npt.NDArray[np.float32]  # (S,)
# Every unit draws alike, whatever the seed of its training: so the draws of two units on the same items are paired.
SEED = 0
DRAW_SCHEMA = pa.schema([("metric", pa.string()), ("features", pa.string()), ("draws", pa.list_(pa.float32()))])
FEW = "one {cluster}: no interval"


@dataclass(frozen=True)
class Score:
    """A row of SCORE_SCHEMA.

    `num_clusters` counts what the interval is drawn over, `cluster` says what that is: independent held-out videos
    (near-duplicates count as one) or images. `subset` says so where the figure is not one of the whole set. `unit`: a
    share of 1, of which more is better, or degrees, of which less is. `draws`: the metric of each resample.
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
    draws: Draws | None = field(default=None, compare=False, repr=False)


def score_rows(
    benchmark: str,
    metric: str,
    values: Mapping[str, npt.NDArray[np.floating]],
    clusters: npt.NDArray[np.integer],
    *,
    samples: int,
    chance: float | None,
    note: str = "",
    cluster: str = "held-out video",
    subset: str = "",
) -> list[Score]:
    """Rows of one metric from each item's value (N,) by kind of features, with the differences to the trained one.

    All kinds are scored on the same items, and every interval draws the same resamples, so that the interval
    of a difference is that of a paired comparison: far tighter than two intervals laid side by side.
    """
    found = {name: resample_means(each, clusters, samples, SEED) for name, each in values.items()}
    num_clusters = len(np.unique(clusters))
    return _rows(
        found,
        Score(benchmark, metric, "", None, None, None, len(clusters), num_clusters, cluster, chance, note, subset),
    )


def statistic_rows(
    benchmark: str,
    metric: str,
    statistics: Mapping[str, Statistic],
    num_items: int,
    *,
    samples: int,
    chance: float | None = None,
    note: str = "",
    cluster: str = "image",
    subset: str = "",
    unit: Unit = "share",
) -> list[Score]:
    """As `score_rows`, for a metric that is no mean over items, such as an average precision.

    A statistic is given how often each of the items was drawn (N,), and gives the metric of that draw.
    """
    found = {name: resample(each, num_items, samples, SEED) for name, each in statistics.items()}
    return resampled_rows(
        benchmark, metric, found, num_items, chance=chance, note=note, cluster=cluster, subset=subset, unit=unit
    )


def resampled_rows(
    benchmark: str,
    metric: str,
    found: Mapping[str, Resampled],
    num_items: int,
    *,
    chance: float | None = None,
    note: str = "",
    cluster: str = "image",
    subset: str = "",
    unit: Unit = "share",
) -> list[Score]:
    """As `statistic_rows`, of what was resampled already, by the draws of SEED for every kind of features."""
    return _rows(
        found, Score(benchmark, metric, "", None, None, None, num_items, num_items, cluster, chance, note, subset, unit)
    )


def no_score(benchmark: str, metric: str, reason: str, num_items: int = 0) -> Score:
    """The row of a metric that could not be measured, and why."""
    return Score(benchmark, metric, "trained", None, None, None, num_items, 0, "", None, reason)


def record_of(score: Score) -> dict[str, Any]:
    """The score as a row of SCORE_SCHEMA."""
    return {name: getattr(score, name) for name in SCORE_SCHEMA.names}


def draw_records(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Rows of DRAW_SCHEMA: those of the kinds of features; a difference's are the differences."""
    return [
        {"metric": score.metric, "features": score.features, "draws": score.draws}
        for score in scores
        if score.draws is not None
    ]


def _rows(found: Mapping[str, Resampled], score: Score) -> list[Score]:
    """A row a kind of features and, but for the trained one, one of its difference to that; `score`: what all share."""
    if score.num_clusters < 2:
        few = FEW.format(cluster=score.cluster)
        score = replace(score, note=f"{score.note}; {few}" if score.note else few)
    known = [name for name in FEATURES if name in found]
    rows = [replace(_measured(score, name, found[name]), draws=found[name].draws.astype(np.float32)) for name in known]
    if "trained" in found:
        apart = replace(score, chance=None)
        rows += [
            _measured(apart, f"trained - {name}", found["trained"] - found[name]) for name in known if name != "trained"
        ]
    return rows


def _measured(score: Score, features: str, resampled: Resampled) -> Score:
    interval = resampled.interval()
    return replace(score, features=features, value=interval.value, low=interval.low, high=interval.high)
