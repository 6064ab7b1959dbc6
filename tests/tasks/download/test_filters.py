"""Filters: each leaves out what it names, says so, and rests on its own setting."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.download.config import DownloadConfig
from tasks.download.filters import Offer, require_wanted
from tasks.records import Dropped

FULL = Offer(duration_seconds=60.0, height_px=480, licence="Creative Commons Attribution licence (reuse allowed)")


@pytest.mark.parametrize(
    ("offer", "config", "reason", "setting"),
    [
        (Offer(duration_seconds=5.0), {"min_seconds": 6}, "filtered_duration", "min_seconds"),
        (Offer(duration_seconds=601.0), {"max_seconds": 600}, "filtered_duration", "max_seconds"),
        (Offer(height_px=240), {"min_height_px": 360}, "filtered_height", "min_height_px"),
        (Offer(age_limit=18), {"max_age_limit": 17}, "filtered_age", "max_age_limit"),
        (Offer(licence="Standard"), {"licences": ("creative commons",)}, "filtered_licence", "licences"),
        (Offer(), {"licences": ("creative commons",)}, "filtered_licence", "licences"),
    ],
)
def test_what_a_filter_leaves_out(offer: Offer, config: dict[str, Any], reason: str, setting: str) -> None:
    with pytest.raises(Dropped) as caught:
        require_wanted(offer, DownloadConfig(**config))
    assert (caught.value.kind, caught.value.reason, caught.value.settings) == ("permanent", reason, (setting,))
    assert setting in caught.value.words


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"min_seconds": 60, "max_seconds": 60, "min_height_px": 480, "max_age_limit": 1},
        {"licences": ("creative commons",)},
        {"licences": ("nothing", "attribution")},
    ],
)
def test_what_passes(config: dict[str, Any]) -> None:
    require_wanted(FULL, DownloadConfig(**config))


def test_what_is_not_known_passes() -> None:
    config = DownloadConfig(min_seconds=5, max_seconds=6, min_height_px=100, max_age_limit=1)
    require_wanted(Offer(), config)
    require_wanted(Offer(duration_seconds=0.0, height_px=0), config)


def test_a_live_stream_is_tried_again() -> None:
    with pytest.raises(Dropped) as caught:
        require_wanted(Offer(is_live=True), DownloadConfig())
    assert (caught.value.kind, caught.value.reason) == ("transient", "live")


@pytest.mark.parametrize(
    ("licence", "wanted", "is_met"),
    [
        ("CC BY 4.0", "creative commons", True),
        ("CC0", "creative commons", True),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "creative commons", True),
        ("Creative Commons Attribution", "Creative  Commons", True),
        ("Standard YouTube License", "creative commons", False),
        ("accbytes", "creative commons", False),
        ("cc-by-4.0", "CC BY", True),
        ("CC BY-NC 4.0", "CC BY", False),
        ("CC BY-NC 4.0", "cc by-nc", True),
        ("CC BY-NC-ND 4.0", "cc by-nc", False),
        ("public domain", "Public Domain", True),
        ("(a+)+", "(a+)+", True),
    ],
)
def test_licences(licence: str, wanted: str, is_met: bool) -> None:
    config = DownloadConfig(licences=(wanted,))
    if is_met:
        require_wanted(Offer(licence=licence), config)
    else:
        with pytest.raises(Dropped):
            require_wanted(Offer(licence=licence), config)
