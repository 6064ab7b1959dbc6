"""Formats that yt-dlp picks for us."""

from __future__ import annotations

from typing import Any

import pytest
import yt_dlp

from tasks.download.config import DownloadConfig
from tasks.download.ytdlp import format_expression


def pick(formats: list[dict[str, Any]], **config: Any) -> str:
    """The id that yt-dlp chooses, by its own selector, from the formats of one video."""
    options = {"format": format_expression(DownloadConfig(**config)), "quiet": True, "simulate": True}
    with yt_dlp.YoutubeDL(options) as tool:
        video = {
            "id": "x",
            "title": "x",
            "extractor": "x",
            "formats": [{"url": "http://x/", "ext": "mp4"} | f for f in formats],
        }
        return str(tool.process_ie_result(video, download=False)["format_id"])


def both(name: str, height: int) -> dict[str, Any]:
    return {"format_id": name, "height": height, "vcodec": "h264", "acodec": "aac"}


def silent(name: str, height: int) -> dict[str, Any]:
    return {"format_id": name, "height": height, "vcodec": "h264", "acodec": "none"}


SOUND = {"format_id": "sound", "vcodec": "none", "acodec": "aac"}


@pytest.mark.parametrize(
    ("formats", "picked"),
    [
        ([SOUND, silent("v360", 360), silent("v480", 480), silent("v1080", 1080), both("b360", 360)], "v480"),
        ([SOUND, both("b360", 360), both("b720", 720), silent("v1080", 1080)], "b360"),
        ([SOUND, silent("v720", 720), silent("v1080", 1080)], "v720"),
        ([both("b720", 720), both("b1080", 1080)], "b720"),
        ([{"format_id": "direct"}], "direct"),
    ],
    ids=["silent under the cap", "with sound under the cap", "smallest silent", "smallest", "a direct file"],
)
def test_the_format_under_the_cap_without_sound_is_preferred(formats: list[dict[str, Any]], picked: str) -> None:
    assert pick(formats, max_height_px=480) == picked


def test_the_users_own_expression_is_used() -> None:
    assert pick([SOUND, both("b720", 720), both("b1080", 1080)], format="best[height>1000]") == "b1080"
