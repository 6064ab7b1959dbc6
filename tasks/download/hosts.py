"""What a host has been asked and how it answered: shared by all workers through the root, and pure here.

Times are seconds since the epoch.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tasks.download.config import DownloadConfig

_HOUR_SECONDS = 3600.0
# How long a host is left alone, doubled each time that it says so again: where it named a time; where it did not
# (YouTube keeps a guest's address blocked for up to an hour, yt-dlp wiki, "Extractors"); where it does not answer.
ASKED_SECONDS, BLOCKED_SECONDS, SILENT_SECONDS = 1.0, 900.0, 60.0
_LONGEST_SECONDS = 6 * _HOUR_SECONDS
_LONGEST_ASKED_SECONDS = 24 * _HOUR_SECONDS


@dataclass(frozen=True)
class Site:
    """What a site bears from one address. 0: no limit."""

    per_hour: int = 0
    connections: int = 0
    pause_seconds: float = 0.0


# A guest session is served about 300 videos an hour, with 5 to 10 s between two (yt-dlp wiki, pull request 52).
SITES: Mapping[str, Site] = {"youtube.com": Site(per_hour=300, connections=2, pause_seconds=7.5)}
_ALIASES = {"youtu.be": "youtube.com", "youtube-nocookie.com": "youtube.com"}
_AUTHORITY = re.compile(r"[/?#\\]")
_SEARCHES = {"ytsearch": "youtube.com", "ytsearchdate": "youtube.com"}


def site_of(host: str, config: DownloadConfig) -> Site:
    """What a host is asked at most: as configured, and no more than it is known to bear."""
    known = SITES.get(host, Site())
    return Site(
        config.per_host_hour or known.per_hour,
        min(config.per_host_connections, known.connections or config.per_host_connections),
        config.pause_seconds or known.pause_seconds,
    )


@dataclass(frozen=True)
class HostState:
    """`spent`: (time, number) of the sources that were claimed within the last hour. `closed_until`: when it may be
    asked again; `reason`: what it said. `streak`: how often it said so since it last answered."""

    spent: tuple[tuple[float, int], ...] = ()
    closed_until: float = 0.0
    reason: str = ""
    streak: int = 0


def host_of(location: str) -> str:
    """Whom a source's location asks: its host with a port that is not the scheme's, or a search's site.

    Names of one site are one host. Empty for a path or an object.
    """
    if location[:7].lower() == "http://" or location[:8].lower() == "https://":
        return _host_at("//" + _AUTHORITY.split(location.split("://", 1)[1], 1)[0])
    search = location.partition(":")[0].rstrip("0123456789").removesuffix("all")
    return _SEARCHES.get(search, "")


@functools.lru_cache(maxsize=4096)
def _host_at(authority: str) -> str:
    try:
        parts = urlsplit(authority)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    for site in (*SITES, *_ALIASES):
        if host == site or host.endswith("." + site):
            return _ALIASES.get(site, site)
    return f"{host}:{port}" if port else host


def register_of(host: str) -> str:
    """The folder of a host's register below the root; its name comes from a digest, never from outside."""
    return f"state/hosts/{hashlib.sha256(host.encode()).hexdigest()[:16]}"


def from_record(record: Mapping[str, Any]) -> HostState:
    fields = {name: value for name, value in record.items() if name in HostState.__dataclass_fields__}
    return HostState(**{**fields, "spent": tuple((time, number) for time, number in fields.get("spent", ()))})


def to_record(state: HostState, host: str) -> dict[str, Any]:
    return {"host": host, **asdict(state)}


def claim(state: HostState, now: float, wanted: int, per_hour: int) -> tuple[HostState, int]:
    """Take up to `wanted` sources out of the hour's budget; returns how many there were."""
    spent = _within_hour(state, now)
    granted = max(0, min(wanted, per_hour - sum(number for _, number in spent)))
    return replace(state, spent=(*spent, (now, granted)) if granted else spent), granted


def room_at(state: HostState, now: float) -> float:
    """When the hour's budget next has room again, where it has none."""
    return min((time for time, _ in _within_hour(state, now)), default=now - _HOUR_SECONDS) + _HOUR_SECONDS


def close(
    state: HostState, now: float, reason: str, base_seconds: float, asked_seconds: float, draw: float
) -> HostState:
    """Leave a host alone: for as long as it asked, and longer each time; `draw` in [0, 1) spreads workers apart."""
    backed_off = min(base_seconds * 2**state.streak, _LONGEST_SECONDS)
    seconds = max(min(asked_seconds, _LONGEST_ASKED_SECONDS), backed_off) * (1 + 0.1 * draw)
    return replace(
        state, closed_until=max(state.closed_until, now + seconds), reason=reason, streak=min(state.streak + 1, 20)
    )


def reopen(state: HostState) -> HostState:
    """A host that has answered."""
    return replace(state, closed_until=0.0, reason="", streak=0)


def _within_hour(state: HostState, now: float) -> tuple[tuple[float, int], ...]:
    return tuple((time, number) for time, number in state.spent if now - _HOUR_SECONDS < time)
