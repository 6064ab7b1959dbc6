"""Scores as the report shows them: one forest plot a metric, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.evaluate import FEATURES
from tasks.evaluate.scores import Score, Unit


@dataclass(frozen=True)
class Mark:
    """One line of a forest plot; positions are in percent of the axis, None where there is no interval."""

    features: str
    value: str
    interval: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A paired difference in points, and what its interval allows to say: better, worse or undecided."""

    against: str
    points: str
    interval: str
    verdict: str


@dataclass(frozen=True)
class Forest:
    """One metric's plot. `ticks` are (position in percent, label); `chance_at` is None where guessing has no score."""

    benchmark: str
    metric: str
    marks: list[Mark]
    differences: list[Difference]
    ticks: list[tuple[float, str]]
    chance: str
    chance_at: float | None
    note: str
    size: str
    unit: str
    points: str


def forests(scores: Sequence[Score]) -> list[Forest]:
    """A forest plot for each metric of the scores, in their order. Metrics are shares, 0 to 1, or degrees."""
    order = list(dict.fromkeys((score.benchmark, score.metric) for score in scores))
    return [
        _forest([score for score in scores if (score.benchmark, score.metric) == (benchmark, metric)])
        for benchmark, metric in order
    ]


def percent(value: float | None) -> str:
    """A share as percent with one decimal; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def amount(score: Score) -> str:
    """The score's value in words, a difference with its sign."""
    return value_words(score.value, score.unit, signed=" - " in score.features)


def bounds(score: Score) -> str:
    """The ends of the score's interval in words."""
    return interval_words(score.low, score.high, score.unit, signed=" - " in score.features)


def value_words(value: float | None, unit: Unit, *, signed: bool) -> str:
    """Percent or degrees; `signed`: a difference in points or degrees, with its sign. A dash for None."""
    if value is None:
        return "–"
    if signed:
        return points(value * scale_of(unit) / 100)
    return f"{value:.1f}°" if unit == "degrees" else percent(value)


def interval_words(low: float | None, high: float | None, unit: Unit, *, signed: bool) -> str:
    """Both ends as `value_words` has them, the unit once. A dash for None."""
    if low is None or high is None:
        return "–"
    scale = scale_of(unit)
    if signed:
        return f"{points(low * scale / 100)} to {points(high * scale / 100)}"
    return f"{scale * low:.1f} to {scale * high:.1f}{'°' if unit == 'degrees' else ' %'}"


def scale_of(unit: Unit) -> float:
    """What a value is multiplied by to be shown."""
    return 1.0 if unit == "degrees" else 100.0


def _forest(scores: Sequence[Score]) -> Forest:
    plain = {score.features: score for score in scores if score.features in FEATURES}
    first = scores[0]
    known = [score for score in plain.values() if score.value is not None]
    chance = first.chance
    scale = scale_of(first.unit)
    ends = [bound for score in known for bound in (score.value, score.low, score.high) if bound is not None]
    # An axis of shares is one in percent: degrees are laid out on the same scale.
    start, end, step = _axis([each * scale / 100 for each in ends + ([chance] if chance is not None else [])])

    def at(value: float) -> float:
        return round(100 * (value * scale / 100 - start) / (end - start), 2)

    marks = [
        Mark(
            score.features,
            amount(score),
            _interval(score, lambda bound: f"{scale * bound:.1f}"),
            at(score.value),
            None if score.low is None else at(score.low),
            None if score.high is None else at(score.high),
        )
        for score in known
        if score.value is not None
    ]
    num_ticks = round((end - start) / step)
    return Forest(
        first.benchmark,
        first.metric,
        marks,
        [_difference(score) for score in scores if score.features not in FEATURES and score.value is not None],
        [(round(100 * step * i / (end - start), 2), f"{100 * (start + step * i):g}") for i in range(num_ticks + 1)],
        percent(chance),
        None if chance is None else at(chance),
        first.note,
        _size(first),
        "degrees" if first.unit == "degrees" else "%",
        "degrees" if first.unit == "degrees" else "points",
    )


def _difference(score: Score) -> Difference:
    assert score.value is not None, "only measured differences are shown"
    if score.low is None or score.high is None:
        verdict = "undecided"
    elif (score.high < 0) if score.unit == "degrees" else (score.low > 0):
        verdict = "better"
    elif (score.low > 0) if score.unit == "degrees" else (score.high < 0):
        verdict = "worse"
    else:
        verdict = "undecided"
    scale = scale_of(score.unit) / 100
    interval = _interval(score, lambda bound: points(scale * bound))
    return Difference(score.features.split(" - ")[1], points(scale * score.value), interval, verdict)


def _interval(score: Score, show: Callable[[float], str]) -> str:
    if score.low is None or score.high is None:
        return "no interval"
    return f"{show(score.low)} to {show(score.high)}"


def _size(score: Score) -> str:
    """What the figure stands on: "70 items, 3 held-out videos", "350 images"."""
    clusters = f"{score.num_clusters} {score.cluster}{'' if score.num_clusters == 1 else 's'}"
    whole = clusters if score.num_items == score.num_clusters else f"{score.num_items} items, {clusters}"
    return f"{whole}; {score.subset}" if score.subset else whole


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """Start, end and tick step of an axis that holds the values with room around them, within 0 to 1."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.02, 0.06 * (high - low))
    low, high = max(0.0, low - room), min(max(1.0, high), high + room)
    step = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (high - low) / each <= 5.01 or each == 0.25)
    start, end = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return start, max(end, start + step), step
