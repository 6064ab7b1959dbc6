"""Lists in lists, parts of a data set, and which failures are tried again: the planner and the recorder alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from flows.plan import is_tried_again, plan_download
from flows.record import record_download
from flows.selection import SourceList, known_sources, listed_by, select, videos_of, with_listed
from storage.versions import Failure, Version, counts_of
from tasks.batch import Outcome, Unit
from tasks.configuration import settings_text
from tasks.download.config import DownloadConfig
from tasks.download.sources import source_at
from tasks.presets import RunConfig, sample
from tasks.records import Listing
from tests.flows.imagined import imagined_outcome, imagined_sources

CONFIG = sample()
FEED = source_at("https://videos.example/feed")


def film(number: int) -> str:
    return f"https://videos.example/{number}.mp4"


def step(
    version: Version,
    given: SourceList,
    feed: Sequence[int] = (),
    expand: bool = False,
    complete: bool = True,
    config: RunConfig = CONFIG,
) -> tuple[Version, list[str]]:
    """One round of the download flow; the feed names films by number. Returns what was asked."""
    given = with_listed(version, given) if given.origin else known_sources(version)
    plan = plan_download(version, given, config, expand)

    def outcome(unit: Unit) -> Outcome:
        if unit.item == FEED.location:
            return Outcome(unit.item, unit.key, listing=Listing("feed", tuple((film(n), "") for n in feed), complete))
        return imagined_outcome(unit)

    outcomes = {unit.key: outcome(unit) for unit in plan.units}
    after = record_download(version, given, config, outcomes, plan.removed, "now")
    again = record_download(after, given, config, outcomes, plan.removed, "now")
    assert replace(again, fetched={}) == replace(after, fetched={}), "recorded twice it is the same"
    return after, [unit.item for unit in plan.units]


def wanted(version: Version) -> set[str]:
    return {entry.location for entry in version.sources.values() if not entry.removed}


@pytest.mark.parametrize("given", [SourceList([FEED], "list.txt"), SourceList([])], ids=["by a list", "by itself"])
def test_a_list_grows_and_what_it_stops_to_name_is_retired(given: SourceList) -> None:
    first = SourceList([FEED], "list.txt")
    version, asked = step(Version("night"), first, feed=(1, 2))
    assert asked == [FEED.location]
    assert counts_of(version) | {"sources": 2, "lists": 1, "pending": 2} == counts_of(version)
    version, asked = step(version, given)
    assert sorted(asked) == [film(1), film(2)]
    assert step(version, given)[1] == [], "and then there is nothing to do"
    version, asked = step(version, given, feed=(2, 3), expand=True)
    assert asked == [FEED.location]
    assert wanted(version) == {FEED.location, film(2), film(3)}
    version, asked = step(version, given)
    assert asked == [film(3)]
    version, _ = step(version, given, feed=(1, 2, 3), expand=True)
    assert wanted(version) == {FEED.location, film(1), film(2), film(3)}
    assert step(version, given)[1] == [], "what returns needs no work"


def test_a_cut_list_retires_nothing() -> None:
    given = SourceList([FEED], "list.txt")
    version, _ = step(Version("night"), given, feed=(1, 2))
    version, _ = step(version, given, feed=(3,), expand=True, complete=False)
    assert wanted(version) == {FEED.location, film(1), film(2), film(3)}


def test_a_retired_list_takes_what_only_it_named_along() -> None:
    other = source_at(film(1))
    version, _ = step(Version("night"), SourceList([FEED, other], "list.txt"), feed=(1, 2))
    version, _ = step(version, SourceList([other], "list.txt"))
    assert wanted(version) == {film(1)}
    version, asked = step(version, SourceList([FEED, other], "list.txt"), feed=(1, 2))
    assert asked == [FEED.location], "a list that returns is read again"
    assert wanted(version) == {FEED.location, film(1), film(2)}


def test_a_failed_expansion_keeps_what_the_list_named() -> None:
    given = SourceList([FEED], "list.txt")
    version, _ = step(Version("night"), given, feed=(1, 2))
    plan = plan_download(version, with_listed(version, given), CONFIG, expand=True)
    failure = Failure("download", "transient", "timeout", "timed out")
    feed = next(unit for unit in plan.units if unit.item == FEED.location)
    version = record_download(version, given, CONFIG, {feed.key: Outcome(feed.item, feed.key, failure=failure)})
    assert wanted(version) == {FEED.location, film(1), film(2)}
    assert FEED.location in step(version, given)[1], "and it is tried again"


def test_what_was_not_tried_is_known_all_the_same() -> None:
    given = imagined_sources(*range(5))
    plan = plan_download(Version("night"), given, CONFIG)
    outcomes = {unit.key: imagined_outcome(unit) for unit in plan.units[:2]}
    version = record_download(Version("night"), given, CONFIG, outcomes)
    assert counts_of(version)["pending"] == 3
    assert len(plan_download(version, known_sources(version), CONFIG).units) == 3


def test_parts_of_a_data_set() -> None:
    given = imagined_sources(*range(10))
    ordered = sorted(given.sources, key=lambda source: source.id)
    assert list(select(given, "", 4)) == list(given)
    assert list(select(given, "2:5", 4)) == ordered[2:5]
    assert list(select(given, ":3", 4)) == ordered[:3]
    assert list(select(given, "batch 3", 4)) == ordered[8:]
    assert list(select(given, ordered[4].location, 4)) == [ordered[4]]
    assert list(select(given, ordered[4].id[:12], 4)) == [ordered[4]]
    for nothing in ("batch 4", "batch 0", "10:20", "https://elsewhere.example/", "0" * 12):
        with pytest.raises(ValueError, match=r"only: .* names none of the 10 sources"):
            select(given, nothing, 4)


def test_a_part_retires_nothing_and_its_videos_are_found() -> None:
    version, _ = step(Version("night"), imagined_sources(*range(10)))
    part = select(imagined_sources(*range(6)), "0:2", 4)
    assert plan_download(version, part, CONFIG).removed == ()
    videos = videos_of(version, "0:3", 4)
    assert videos is not None
    assert len(videos) == 3
    assert videos_of(version, "", 4) is None


def test_part_of_a_list_is_what_it_names() -> None:
    given = SourceList([FEED, source_at(film(9))], "list.txt")
    version, _ = step(Version("night"), given, feed=(1, 2))
    chosen = with_listed(version, select(with_listed(version, given), FEED.location, 4))
    assert {source.location for source in chosen} == {FEED.location, film(1), film(2)}
    assert all(listed_by(FEED.id) in version.sources[source.id].origins for source in chosen.listed)


@pytest.mark.parametrize(
    ("failure", "config", "is_tried"),
    [
        ({"kind": "transient", "reason": "timeout", "attempts": 99}, {}, True),
        ({"kind": "transient", "reason": "unknown", "attempts": 4}, {}, True),
        ({"kind": "transient", "reason": "unknown", "attempts": 5}, {}, False),
        ({"kind": "transient", "reason": "time_limit", "attempts": 5}, {}, False),
        ({"kind": "transient", "reason": "unknown", "attempts": 5}, {"max_attempts": 9}, True),
        ({"kind": "permanent", "reason": "private"}, {}, False),
        ({"kind": "permanent", "reason": "private"}, {"retry": "permanent"}, True),
        ({"kind": "permanent", "reason": "private"}, {"retry": "poison"}, False),
        ({"kind": "poison", "reason": "no_frame"}, {"retry": "permanent"}, False),
        ({"kind": "poison", "reason": "no_frame"}, {"retry": "poison"}, True),
        ({"kind": "poison", "reason": "no_frame"}, {"retry": "all"}, True),
        ({"kind": "transient", "reason": "unknown", "attempts": 5}, {"retry": "all"}, True),
    ],
)
def test_which_failures_are_tried_again(failure: dict[str, Any], config: dict[str, Any], is_tried: bool) -> None:
    assert is_tried_again(Failure("download", words="", **failure), DownloadConfig(**config)) == is_tried


def test_a_verdict_falls_with_the_setting_that_it_rests_on() -> None:
    small = DownloadConfig(max_bytes=1000)
    failure = Failure("download", "permanent", "too_large", "", settings=settings_text(small, ["max_bytes"]))
    assert not is_tried_again(failure, small)
    assert not is_tried_again(failure, DownloadConfig(max_bytes=1000, retries=9))
    assert is_tried_again(failure, DownloadConfig())
