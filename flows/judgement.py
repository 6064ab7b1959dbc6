"""Whether a night collapsed against the nights before it: a pure function of their records.

A figure is marked only where three things hold: it is below a share of the median of the last nights; it fell
further than these nights scatter among themselves; and so few items would hardly come of chance alone if the truth
were still above that share. The median and its deviation do not mind an earlier collapse among the last nights, and
once a level has held for longer than half of them it is the new normal.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from storage.nights import Night

KEPT, TRACKED = "kept share", "tracks per minute"
FIGURES = (KEPT, TRACKED)

LAST_NIGHTS = 7
LEAST_NIGHTS = 3
LEAST_ITEMS = 10
"""A night of fewer sources (or videos) is not judged by itself: it counts with the nights that follow, until together
they have as many."""
_CHANCE = 0.05
# What a new value stays within, 99 times in a hundred, in deviations of so many earlier ones: the quantile 0.99 of
# Student's t with n - 1 degrees of freedom, times sqrt(1 + 1/n).
_REACH = {3: 8.04, 4: 5.08, 5: 4.10, 6: 3.63, 7: 3.36}
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class _Sample:
    """A figure, `part` of `whole`, over one night and those before it that were too small to be judged.

    `items`: sources or videos. `lumps`: how many come or fail together, as a sum over items.
    """

    part: float = 0.0
    whole: float = 0.0
    items: int = 0
    lumps: float = 0.0

    def __add__(self, other: _Sample) -> _Sample:
        return _Sample(
            self.part + other.part, self.whole + other.whole, self.items + other.items, self.lumps + other.lumps
        )

    @property
    def rate(self) -> float:
        return self.part / self.whole if self.whole else 0.0


def judge_night(night: Night, before: Sequence[Night], collapse_share: float = 0.5) -> Night:
    """The night with `judged` and `marks` filled in. `before`: earlier nights, the newest last, judged themselves.

    `collapse_share`: of the median of the last nights; below it is a collapse. Nights of another configuration, as
    far as a figure rests on it, are no measure for it and are left out.
    """
    judged, marks = [], []
    for figure in FIGURES:
        earlier, now = _gather(figure, [*(one for one in before if _is_comparable(figure, one, night)), night])
        if now.items < LEAST_ITEMS or not now.whole:
            continue
        judged.append(figure)
        mark = _collapse(figure, now, earlier[-LAST_NIGHTS:], collapse_share)
        if mark:
            marks.append(f"{mark}{_reasons(night) if figure == KEPT else ''}")
    return replace(night, judged=tuple(judged), marks=tuple(marks))


def _is_comparable(figure: str, one: Night, night: Night) -> bool:
    return one.settings.get(figure) == night.settings.get(figure)


def _gather(figure: str, nights: Iterable[Night]) -> tuple[list[_Sample], _Sample]:
    """A sample a night that was judged, and one of the nights since the last of these."""
    closed: list[_Sample] = []
    now = _Sample()
    for night in nights:
        now += _sample(figure, night)
        if figure in night.judged:
            closed.append(now)
            now = _Sample()
    return closed, now


def _sample(figure: str, night: Night) -> _Sample:
    if figure == KEPT:
        return _Sample(night.kept, night.due, night.due, night.due)
    # Where nobody knows how tracks scatter over videos, all tracks of one video come or fail together.
    dispersion = night.dispersion or (night.tracks / night.videos if night.videos else 1.0)
    return _Sample(night.tracks, night.minutes, night.videos, max(1.0, dispersion) * night.videos)


def _collapse(figure: str, now: _Sample, earlier: Sequence[_Sample], collapse_share: float) -> str:
    """What is told of the collapse; empty where it is none, or may be noise."""
    if len(earlier) < LEAST_NIGHTS:
        return ""
    rates = [sample.rate for sample in earlier]
    median = statistics.median(rates)
    deviation = _MAD_TO_DEVIATION * statistics.median(abs(rate - median) for rate in rates)
    limit = collapse_share * median
    if now.rate >= limit or median - now.rate <= _REACH[len(rates)] * deviation:
        return ""
    if figure == KEPT:
        chance = _binomial_at_most(int(now.part), int(now.whole), limit)
    else:
        # Tracks come in lumps, a lively video at a time: as many as they scatter more than single events would.
        lump = statistics.median(sample.lumps / sample.items for sample in earlier)
        chance = _poisson_at_most(now.part / lump, limit * now.whole / lump)
    if chance > _CHANCE:
        return ""
    last = f"the median of the last {len(rates)} nights is"
    if figure == KEPT:
        return f"kept {int(now.part)} of {int(now.whole)} ({now.rate:.0%}), {last} {median:.0%}"
    return f"{now.rate:.3g} tracks per minute in {now.items} videos, {last} {median:.3g}"


def _reasons(night: Night) -> str:
    """The reasons why most were not kept."""
    reasons = {**night.dropped, "refused by their host": night.refused}
    most = sorted(
        ((reason, number) for reason, number in reasons.items() if number), key=lambda item: (-item[1], item[0])
    )
    return f"; {', '.join(f'{number} {reason}' for reason, number in most[:3])}" if most else ""


def _binomial_at_most(successes: int, tries: int, share: float) -> float:
    """The chance of so few successes, or fewer, in so many tries."""
    if share <= 0.0 or successes >= tries:
        return 1.0
    first = tries * math.log1p(-share)  # in logarithms: thousands of tries underflow
    terms, odds = [first], math.log(share) - math.log1p(-share)
    for number in range(1, successes + 1):
        terms.append(terms[-1] + math.log(tries - number + 1) - math.log(number) + odds)
    return _sum_of_exponentials(terms)


def _poisson_at_most(events: float, expected: float) -> float:
    """The chance of so few events, or fewer, where so many are expected; fractions of an event count as one."""
    terms = [-expected]
    for number in range(1, math.ceil(events) + 1):
        terms.append(terms[-1] + math.log(expected) - math.log(number))
    return _sum_of_exponentials(terms)


def _sum_of_exponentials(logarithms: Sequence[float]) -> float:
    largest = max(logarithms)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(value - largest) for value in logarithms))
