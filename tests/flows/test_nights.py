"""What a night's record says, measured on versions and manifests, and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.judgement import KEPT, TRACKED
from flows.nights import _KEEPING, markdown_of, measure_night, settings_digests, show_nights, sparkline, sum_up
from storage.nights import Night, write_night
from storage.root import Root, RootError, open_root
from storage.versions import Version, latest_version, update_version
from tasks.configuration import key_parameters
from tasks.download.config import DownloadConfig
from tasks.presets import RunConfig, sample
from tests.flows.imagined_nights import SECONDS, TRACKS, Web

STARTED = "2026-11-{:02}T03:00:00.000001+00:00"
Measure = Callable[[Web], Night]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def measured(root: Root) -> Measure:
    """Run a night on the web as it is, and measure it."""

    def run(web: Web) -> Night:
        before = latest_version(root, "night")
        summaries = list(web.run_stages(root.url, "night", "", {}))
        night = Night("night", STARTED.format(1))
        return sum_up(measure_night(root, before, latest_version(root, "night"), night), summaries)

    return run


def test_the_first_night_counts_everything(measured: Measure) -> None:
    night = measured(Web(named=set(range(8)), dead={1, 2}, unreadable={3}))
    assert (night.tried, night.kept, night.dropped) == (8, 5, {"gone": 2, "unreadable": 1})
    assert (night.videos, night.tracks, night.minutes) == (5, 5 * TRACKS, 5 * SECONDS / 60)
    assert night.tracks_per_minute == TRACKS * 60 / SECONDS
    assert night.dispersion == 0.0, "every video gives as many"
    assert (night.version_before, night.pairs, night.new_pairs) == (0, 5 * TRACKS, 5 * TRACKS)
    assert night.trained
    assert night.seconds == dict.fromkeys(("download", "track", "shard", "train", "evaluate"), 1.5)


def test_a_night_counts_only_its_own(measured: Measure) -> None:
    web = Web(named=set(range(8)), dead={1, 2})
    first = measured(web)
    quiet = measured(replace(web, dead=set(), named=set(range(8)) - {1, 2}))
    assert (quiet.tried, quiet.removed, quiet.new_pairs, quiet.videos) == (0, 2, 0, 0)
    assert (quiet.kept_share, quiet.tracks_per_minute) == (None, None)
    web = Web(named={*range(8), 20, 21} - {7}, dead={1, 21})
    night = measured(web)
    assert (night.tried, night.kept, night.dropped) == (4, 2, {"gone": 2}), "1 and 21 again in vain, 2 and 20 kept"
    assert (night.removed, night.returned) == (1, 2)
    assert night.version_before > first.version
    assert (night.new_pairs, night.tracks) == (2 * TRACKS, 2 * TRACKS)


def test_what_stages_told_is_summed_up() -> None:
    """A second download, of dropped videos, takes the place of the first one's pending sources."""
    base = {"committed": 0, "seconds": 1.25, "pending": 0}
    summaries = [
        {**base, "stage": "download", "pending": 9, "refused": 4},
        {**base, "stage": "track"},
        {**base, "stage": "download", "pending": 3, "refused": 2},
        {**base, "stage": "train", "committed": 1},
    ]
    night = sum_up(Night("night", STARTED.format(1), tried=2, kept=1), summaries)
    assert (night.pending, night.refused, night.due, night.kept_share, night.trained) == (3, 2, 4, 0.25, True)
    assert night.seconds == {"download": 2.5, "track": 1.2, "train": 1.2}


def test_a_failure_that_is_not_tried_again_is_not_counted_again(root: Root) -> None:
    web = Web(named={1, 2, 3}, dead={1})
    list(web.run_stages(root.url, "night", "", {}))
    version = latest_version(root, "night")
    night = measure_night(root, version, version, Night("night", STARTED.format(1)))
    assert (night.tried, night.dropped) == (0, {})


def test_what_is_fetched_and_tracked_anew_counts_again(root: Root) -> None:
    list(Web(named={1, 2, 3}).run_stages(root.url, "night", "", {}))
    before = latest_version(root, "night")
    fields = {"track_fb_threshold_px": 0.8, "download_max_height_px": 240}
    list(Web(named={1, 2, 3}).run_stages(root.url, "night", "", fields))
    night = measure_night(root, before, latest_version(root, "night"), Night("night", STARTED.format(1)))
    assert (night.tried, night.kept, night.videos, night.new_pairs) == (3, 3, 3, 3 * TRACKS)


def test_dispersion_is_that_of_tracks_about_their_expectation(root: Root) -> None:
    list(Web(named={1, 2, 3, 4}).run_stages(root.url, "night", "", {}))

    def change(version: Version) -> Version:
        videos = {video: replace(entry, tracks=n) for n, (video, entry) in enumerate(version.videos.items(), 3)}
        return replace(version, videos=videos)

    after = update_version(root, "night", change)
    night = measure_night(root, Version("night"), after, Night("night", STARTED.format(1)))
    assert night.tracks == 3 + 4 + 5 + 6
    assert night.dispersion == pytest.approx((1.5**2 + 0.5**2) * 2 / 4.5 / 3, abs=1e-3)


def test_the_digest_of_a_figure_follows_what_it_rests_on() -> None:
    def change(section: str, **fields: object) -> dict[str, str]:
        document = sample().model_dump()
        document[section] |= fields
        return settings_digests(RunConfig.model_validate(document))

    base = settings_digests(sample())
    assert change("download", connections=3, timeout_seconds=5.0) == base
    assert change("track", min_kept_share=0.5) == base
    assert change("download", min_seconds=3.0) == {
        KEPT: change("download", min_seconds=3.0)[KEPT],
        TRACKED: base[TRACKED],
    }
    assert change("download", min_seconds=3.0)[KEPT] != base[KEPT]
    assert change("track", max_tracks=3)[TRACKED] != base[TRACKED]
    assert set(_KEEPING) <= set(DownloadConfig.model_fields)
    assert set(key_parameters(sample().download)) <= set(_KEEPING)


def _show(root: Root, name: str = "night", **options: bool) -> str:
    console = Console(file=StringIO(), width=200)
    show_nights(root.url, name, console, **options)  # type: ignore[arg-type]
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


@pytest.fixture
def nights(root: Root) -> list[Night]:
    """A good one, an empty one, a marked one and a failed one."""
    base = Night("night", STARTED.format(1), tried=10, kept=9, tracks=90, minutes=4.5, videos=9, training="3% | new")
    made = [
        base,
        Night("night", STARTED.format(2)),
        replace(base, started=STARTED.format(3), kept=1, marks=("kept 1 of [10]",), removed=3, returned=2),
        replace(base, started=STARTED.format(4), failed="StageFailed: track"),
    ]
    for night in made:
        write_night(root, night)
    return made


def test_nights_are_printed_the_newest_first(root: Root, nights: list[Night]) -> None:
    told = _show(root)
    lines = [line for line in told.splitlines() if "2026-11-" in line]
    assert [line.split()[1] for line in lines] == [f"2026-11-0{day}" for day in (4, 3, 2, 1)]
    assert "FAILED: StageFailed: track" in lines[0]
    assert "MARKED: kept 1 of [10]" in lines[1]
    assert "3, 2 back" in lines[1]
    assert "none due" in lines[2]
    assert "9 of 10 (90%)" in lines[3]
    assert "▇·▂▇" in told
    assert "█·██" in told


def test_nights_as_json(root: Root, nights: list[Night], capsys: pytest.CaptureFixture[str]) -> None:
    assert _show(root, as_json=True) == ""
    told = json.loads(capsys.readouterr().out)
    assert [night["kept_share"] for night in told] == [0.9, None, 0.1, 0.9]
    assert told[0]["tracks_per_minute"] == 20


def test_without_nights_it_says_what_to_do(root: Root) -> None:
    with pytest.raises(RootError, match="there are: none"):
        _show(root)
    update_version(root, "night", lambda version: replace(version, recipes={}, units={}, name="night"))
    list(Web(named={1}).run_stages(root.url, "night", "", {}))
    assert "no night yet" in _show(root)
    with pytest.raises(RootError, match="there are: night"):
        _show(root, "day")


def test_the_table_for_the_ui_keeps_its_columns(nights: list[Night]) -> None:
    lines = markdown_of(nights).splitlines()
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(nights)
    assert {row.count("|") for row in rows} == {rows[0].count("|")}


def test_sparkline() -> None:
    assert sparkline([0.0, 0.5, 1.0, None, 2.0], 1.0) == "▁▅█·█"
    assert sparkline([0.0, 0.0], 0.0) == "▁▁"
