"""Which nights are marked: every collapse that the numbers can tell, next to no stable night, however few its items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from flows.judgement import KEPT, LAST_NIGHTS, TRACKED, _binomial_at_most, _poisson_at_most, judge_night
from storage.nights import Night

STARTED = "2026-11-03T03:00:00+00:00"


def _kept(kept: int, tried: int, settings: str = "same") -> Night:
    return Night("night", STARTED, tried=tried, kept=kept, settings={KEPT: settings})


def _tracked(tracks: int, videos: int, dispersion: float = 4.0) -> Night:
    """A minute a video."""
    return Night("night", STARTED, videos=videos, tracks=tracks, minutes=float(videos), dispersion=dispersion)


def _judged(nights: Sequence[Night]) -> list[Night]:
    """Each judged after those before it."""
    done: list[Night] = []
    for night in nights:
        done.append(judge_night(night, done))
    return done


def test_a_kept_share_that_collapses_is_marked_with_its_reasons() -> None:
    collapsed = replace(_kept(3, 40), dropped={"bot_check": 30, "gone": 4, "a": 2, "b": 1})
    *before, night = _judged([_kept(36, 40), _kept(38, 40), _kept(35, 40), _kept(36, 40), collapsed])
    assert [one.marks for one in before] == [()] * 4
    assert night.marks == ("kept 3 of 40 (8%), the median of the last 4 nights is 90%; 30 bot_check, 4 gone, 2 a",)


def test_sources_that_their_host_refused_were_not_kept() -> None:
    """A host that blocks us leaves its sources untried: that is the collapse, not a small night."""
    *_, night = _judged([*(_kept(36, 40) for _ in range(3)), replace(_kept(1, 1), refused=38, pending=50)])
    told = "kept 1 of 39 (3%), the median of the last 3 nights is 90%; 38 refused by their host"
    assert night.marks == (told,)
    assert not _judged([*(_kept(36, 40) for _ in range(3)), replace(_kept(9, 10), pending=3000)])[-1].marks


def test_tracks_per_minute_that_collapse_are_marked() -> None:
    *before, night = _judged([*(_tracked(200 + 7 * n, 20) for n in range(5)), _tracked(8, 20)])
    assert [one.marks for one in before] == [()] * 5
    assert night.marks == ("0.4 tracks per minute in 20 videos, the median of the last 5 nights is 10.7",)


@pytest.mark.parametrize(
    ("last", "marked"),
    [((20, 40), False), ((15, 40), False), ((9, 40), True), ((0, 40), True), ((0, 5), False), ((5, 12), False)],
)
def test_half_is_no_collapse_and_few_items_prove_none(last: tuple[int, int], marked: bool) -> None:
    night = _judged([*(_kept(36, 40) for _ in range(7)), _kept(*last)])[-1]
    assert bool(night.marks) is marked


def test_three_nights_are_needed() -> None:
    assert not _judged([_kept(40, 40), _kept(40, 40), _kept(0, 40)])[-1].marks
    assert _judged([_kept(40, 40), _kept(40, 40), _kept(40, 40), _kept(0, 40)])[-1].marks


def test_the_share_of_the_median_is_the_users() -> None:
    before = _judged([_kept(40, 40)] * 3)
    assert not judge_night(_kept(10, 40), before, 0.1).marks
    assert judge_night(_kept(30, 40), before, 0.95).marks
    assert not judge_night(_kept(0, 40), before, 0.0).marks


def test_nights_that_scatter_are_no_measure() -> None:
    scattered = [_kept(kept, 40) for kept in (36, 12, 30, 8, 38, 20, 15)]
    assert not _judged([*scattered, _kept(3, 40)])[-1].marks
    assert _judged([*([_kept(36, 40)] * 6), _kept(35, 40), _kept(3, 40)])[-1].marks


def test_a_second_bad_night_is_marked_too_and_a_lasting_level_is_the_new_normal() -> None:
    nights = _judged([*([_kept(36, 40)] * 7), *([_kept(2, 40)] * 7)])
    assert [bool(night.marks) for night in nights[7:]] == [True, True, True, True, False, False, False]


def test_small_nights_are_judged_together() -> None:
    """Three videos a night: every fourth night there are enough of them."""
    nights = _judged([*([_kept(3, 3)] * 16), *([_kept(0, 3)] * 4)])
    assert [KEPT in night.judged for night in nights] == [False, False, False, True] * 5
    assert [bool(night.marks) for night in nights] == [False] * 19 + [True]
    assert nights[-1].marks[0].startswith("kept 0 of 12 (0%)")


def test_an_empty_night_is_not_judged_and_changes_nothing() -> None:
    nights = _judged([*([_kept(36, 40)] * 3), _kept(0, 0), _kept(2, 40)])
    assert nights[3].judged == ()
    assert "the last 3 nights" in nights[4].marks[0]


def test_nights_of_another_configuration_are_no_measure() -> None:
    before = _judged([_kept(36, 40)] * 5)
    assert judge_night(_kept(2, 40), before).marks
    assert not judge_night(_kept(2, 40, "other"), before).marks


def test_only_the_last_nights_count() -> None:
    nights = _judged([*([_kept(39, 40)] * 9), *([_kept(20, 40)] * LAST_NIGHTS), _kept(12, 40)])
    assert not nights[-1].marks, "60 % of what is usual by now"


def test_tracks_that_come_in_lumps_prove_less() -> None:
    def last(dispersion: float) -> Night:
        return _judged([*(_tracked(120, 12, dispersion) for _ in range(5)), _tracked(24, 12, dispersion)])[-1]

    assert last(4.0).marks
    assert not last(60.0).marks
    assert not last(0.0).marks, "nobody knows how they scatter: a video is one lump"
    assert _judged([*(_tracked(120, 12) for _ in range(5)), _tracked(0, 12)])[-1].marks


def test_chances_are_those_of_the_distributions() -> None:
    for tries, share in ((10, 0.45), (40, 0.02), (5000, 0.3)):
        for successes in {0, 1, tries // 4, tries // 2}:
            assert _binomial_at_most(successes, tries, share) == pytest.approx(
                stats.binom.cdf(successes, tries, share), rel=1e-9, abs=1e-300
            )
    for expected in (0.5, 7.0, 900.0):
        for events in (0, 3, 850):
            assert _poisson_at_most(events, expected) == pytest.approx(stats.poisson.cdf(events, expected), rel=1e-9)
    assert _poisson_at_most(2.1, 7.0) == pytest.approx(stats.poisson.cdf(3, 7.0))


def _false_marks(make: Callable[[np.random.Generator], Night], nights: int = 300) -> tuple[int, int]:
    """(marked, judged) of nights that are all alike."""
    random = np.random.default_rng(7)
    done: list[Night] = []
    for _ in range(nights):
        done.append(judge_night(make(random), done[-60:]))
    return sum(bool(one.marks) for one in done), sum(bool(one.judged) for one in done)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [3, 10, 15, 60])
def test_stable_nights_are_hardly_ever_marked(share: float, size: int) -> None:
    """Kept by chance alone, also where few are tried."""

    def make(random: np.random.Generator) -> Night:
        tried = int(random.poisson(size))
        return _kept(int(random.binomial(tried, share)), tried)

    marked, judged = _false_marks(make)
    assert judged > 50
    assert marked <= judged // 100


@pytest.mark.parametrize("size", [10, 30])
def test_stable_tracks_are_hardly_ever_marked(size: int) -> None:
    """Half of the videos give nothing, and the others scatter."""

    def make(random: np.random.Generator) -> Night:
        tracks = random.poisson(20 * random.gamma(1.0, 1.0, size) * (random.random(size) < 0.5))
        mean = max(tracks.mean(), 0.1)
        return _tracked(int(tracks.sum()), size, float(((tracks - mean) ** 2 / mean).sum() / (size - 1)))

    marked, judged = _false_marks(make)
    assert judged == 300
    assert marked <= 3
    assert TRACKED in judge_night(make(np.random.default_rng(1)), []).judged
