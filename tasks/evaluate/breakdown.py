"""A benchmark's figure by class, and by layer: the metrics that say the same of a part, drawn in one plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from markupsafe import Markup

from tasks.evaluate.parts import head_metrics, part_of
from tasks.evaluate.plots import DRAWN, Bounds, parts_plot, precision_recall_plot
from tasks.evaluate.scores import Score


@dataclass(frozen=True)
class Breakdown:
    """One plot: whose it is, what its rows are, and its SVG."""

    benchmark: str
    title: str
    svg: Markup


def breakdowns(scores: Sequence[Score]) -> list[Breakdown]:
    """The plots of all benchmarks that have classes or layers, with 95 % intervals."""
    parts: dict[tuple[str, str], dict[str, dict[str, Bounds]]] = {}
    heads = _heads(scores)
    for score in scores:
        part = part_of(score.metric, heads[score.benchmark])
        # The plot is of one form of average precision; the table has both.
        if part and score.value is not None and score.features in DRAWN and not score.metric.endswith("11 points"):
            kind, name = part
            of_part = parts.setdefault((score.benchmark, kind), {}).setdefault(name, {})
            of_part[score.features] = (score.value, score.low, score.high)
    return [
        Breakdown(benchmark, f"{heads[benchmark]} by {kind}", parts_plot(list(rows), list(rows.values())))
        for (benchmark, kind), rows in parts.items()
    ]


def precision_recall(benchmark: str, curves: pa.Table) -> list[Breakdown]:
    """A plot a class of a detection unit's curves.parquet (CURVE_SCHEMA)."""
    of_class: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in curves.to_pylist():
        if row["features"] in DRAWN:
            of_class.setdefault(row["class"], {})[row["features"]] = (row["recall"], row["precision"])
    return [
        Breakdown(benchmark, f"precision and recall, {name}", precision_recall_plot(found))
        for name, found in of_class.items()
    ]


def whole_scores(scores: Sequence[Score]) -> list[Score]:
    """The scores that are of no part: those that stand for their benchmark."""
    heads = _heads(scores)
    return [score for score in scores if part_of(score.metric, heads[score.benchmark]) is None]


def _heads(scores: Sequence[Score]) -> dict[str, str]:
    return head_metrics((score.benchmark, score.metric) for score in scores)
