"""Filters: what is not wanted, judged before its bytes are fetched where the site says enough, and after where not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.download.config import DownloadConfig
from tasks.records import Dropped

# Ways to write any of the Creative Commons licences and its public domain dedication (creativecommons.org).
_CREATIVE_COMMONS = re.compile(r"creative\s*commons|\bcc[\s-]?(by|0|zero)\b|creativecommons\.org", re.IGNORECASE)


@dataclass(frozen=True)
class Offer:
    """What is known of a video. None: not known. `age_limit`: in years; `height_px`: of what would be fetched."""

    duration_seconds: float | None = None
    height_px: int | None = None
    licence: str | None = None
    age_limit: int | None = None
    is_live: bool = False


def require_wanted(offer: Offer, config: DownloadConfig) -> None:
    """Raise Dropped (permanent, until the filter changes) for what a filter leaves out; a live stream is transient.

    What is not known passes, but for the licence: a set that must be free to use holds nothing that may not be.
    """
    if offer.is_live:
        raise Dropped("transient", "live", "the stream is live and has no end yet")
    seconds, height = offer.duration_seconds, offer.height_px
    if seconds is not None and 0 < seconds < config.min_seconds:
        raise _left_out("duration", f"{seconds:g} s, min_seconds is {config.min_seconds:g}", "min_seconds")
    if seconds is not None and config.max_seconds and seconds > config.max_seconds:
        raise _left_out("duration", f"{seconds:g} s, max_seconds is {config.max_seconds:g}", "max_seconds")
    if height is not None and 0 < height < config.min_height_px:
        raise _left_out("height", f"{height} px high, min_height_px is {config.min_height_px}", "min_height_px")
    if config.max_age_limit and (offer.age_limit or 0) > config.max_age_limit:
        words = f"for viewers of {offer.age_limit} years, max_age_limit is {config.max_age_limit}"
        raise _left_out("age", words, "max_age_limit")
    if config.licences and not any(_is_licence(offer.licence or "", wanted) for wanted in config.licences):
        told = f"its licence is {offer.licence!r}" if offer.licence else "nobody says its licence"
        raise _left_out("licence", f"{told}, licences is {', '.join(config.licences)}", "licences")


def _is_licence(licence: str, wanted: str) -> bool:
    """Whether the licence has the wanted words, whole; `CC BY` is not met by CC BY-NC, which must be named itself."""
    words, told = _words(wanted), _words(licence)
    if words == "creative commons":
        return bool(_CREATIVE_COMMONS.search(licence))
    return bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)(?! (nc|nd|sa)\b)", told))


def _words(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _left_out(what: str, words: str, setting: str) -> Dropped:
    return Dropped("permanent", f"filtered_{what}", words, (setting,))
