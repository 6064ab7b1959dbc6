"""Fetching one URL with yt-dlp as a library: no configuration files, plugins or programs from outside."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.version import __version__ as YTDLP_VERSION

from storage.keys import JSON, canonical_json
from tasks.download.addresses import require_public
from tasks.download.config import DownloadConfig
from tasks.download.failures import dropped
from tasks.download.filters import Offer, require_wanted
from tasks.download.guard import Guard, GuardedDownloader
from tasks.download.redaction import plain_words
from tasks.download.scratch import Validators, drop_parts
from tasks.download.settings import fetch_settings
from tasks.download.sources import Source
from tasks.records import Dropped, Listing, Progress

logger = logging.getLogger(__name__)

_MAX_PAUSE_SECONDS = 30
TITLE_CHARACTERS = 200
# What a page, a list or a response's head can make yt-dlp's own code raise, beside its errors.
_BREAKAGES = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_OURS = Path(__file__).parent
_LISTS = frozenset({"playlist", "multi_video", "compat_list"})
_FRAGMENTS = frozenset({"m3u8", "m3u8_native", "http_dash_segments", "f4m", "ism", "mhtml"})


@dataclass(frozen=True)
class Fetched:
    """A fetched file and what the site says about it; empty where it says nothing."""

    path: Path
    extractor: str
    title: str = ""
    licence: str = ""
    uploader: str = ""
    tool: str = ""


def fetch_url(source: Source, config: DownloadConfig, scratch: Path, progress: Progress) -> Fetched | Listing:
    """Fetch the video of a URL into the scratch folder, or say which videos it lists.

    Every request, redirects included, goes to a public host or to one of `allow_hosts`, and nothing above
    `max_bytes` is kept. Raises Dropped with yt-dlp's words.
    """
    if source.kind != "search":
        require_public(source.location, config.allow_hosts)
    log, validators = _ToolLog(), Validators(scratch)
    guard = Guard(config.allow_hosts, validators)
    try:
        with GuardedDownloader(_options(config, scratch, log, _limit(config, progress)), guard) as tool:
            found = tool.extract_info(source.location, download=False)
            if found is None:
                raise Dropped("transient", "unknown", "yt-dlp gave no information and no error")
            if found.get("_type", "video") in _LISTS:
                return _listing(source, found, config)
            require_wanted(_offer(found, source), config)
            _drop_other_parts(scratch, found, validators)
            info = tool.process_ie_result(found, download=True)
    except (yt_dlp.utils.YoutubeDLError, OSError) as error:
        raise _verdict(guard, log, error) from error
    except _BREAKAGES as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        if Path(where.filename).is_relative_to(_OURS):
            raise
        words = f"{type(error).__name__}: {error} ({Path(where.filename).name}, {where.name})"
        raise guard.refusal or Dropped("transient", "extractor_broken", plain_words(words)) from error
    path = next((each for each in scratch.glob("video*") if not each.name.endswith((".part", ".ytdl"))), None)
    if path is None:
        raise _verdict(guard, log, log.last or f"yt-dlp left no file for {source.location}")
    return Fetched(
        path=path,
        extractor=str(info.get("extractor") or ""),
        title=_text(info, "title"),
        licence=_text(info, "license") or said_licence(source),
        uploader=_text(info, "uploader"),
        tool=YTDLP_VERSION,
    )


def format_expression(config: DownloadConfig) -> str:
    """The configured expression, or: the best under the cap, without sound where offered; else the smallest."""
    cap = f"[height<=?{config.max_height_px}]"
    return config.format or f"bestvideo{cap}/best{cap}/bestvideo*{cap}/worstvideo/worst"


def said_licence(source: Source) -> str:
    """What the source's list says of its licence."""
    return str(_given(source).get("licence", ""))[:TITLE_CHARACTERS]


def _options(
    config: DownloadConfig, scratch: Path, log: _ToolLog, hook: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    def pause_seconds(n: int) -> float:
        return float(min(2**n, _MAX_PAUSE_SECONDS))

    settings = fetch_settings()
    options = {
        "quiet": True,
        "noprogress": True,
        "progress_delta": 1.0,  # of lines that nobody reads; the hooks are called for every block
        "color": "no_color",
        "logger": log,
        "format": format_expression(config),
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": f"1:{config.max_listed + 1}",
        "paths": {"home": str(scratch), "temp": str(scratch)},
        "outtmpl": {"default": "video"},  # nothing that a site says names a file
        "retries": config.retries,
        "fragment_retries": config.retries,
        "extractor_retries": config.retries,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), pause_seconds),
        "skip_unavailable_fragments": False,
        "socket_timeout": config.timeout_seconds,
        "max_filesize": config.max_bytes,
        "progress_hooks": [hook],
        "postprocessors": [],
        "fixup": "never",
        "hls_prefer_native": True,
        "cachedir": False,
        "updatetime": False,
        "check_formats": False,
        "js_runtimes": settings.js_runtimes,
    }
    if settings.proxy:
        options["proxy"] = settings.proxy
    if settings.cookies:
        options["cookiefile"] = _copy_of(settings.cookies)
    return options


def _limit(config: DownloadConfig, progress: Progress) -> Callable[[dict[str, Any]], None]:
    """A progress hook that also stops a body that no header announced as too large."""

    def hook(status: dict[str, Any]) -> None:
        done = int(status.get("downloaded_bytes") or 0)
        if done > config.max_bytes:
            words = f"more than max_bytes = {config.max_bytes} bytes; stopped at {done}"
            raise Dropped("permanent", "too_large", words, ("max_bytes",))
        progress(done, int(status.get("total_bytes") or status.get("total_bytes_estimate") or 0), "bytes")

    return hook


def _verdict(guard: Guard, log: _ToolLog, error: Exception | str) -> Dropped:
    """Why the fetch broke off: what the guard refused, else the tool's words, and how long the host wants peace."""
    if guard.refusal is not None:
        return guard.refusal
    verdict = dropped(error, log.warnings)
    if verdict.kind == "transient":
        verdict.retry_after = max(verdict.retry_after, guard.retry_after)
    return verdict


def _offer(info: dict[str, Any], source: Source) -> Offer:
    """What the site says before a byte of the video is fetched; where it says nothing, what the list says."""
    given = _given(source)
    return Offer(
        duration_seconds=_number(info.get("duration")) or _number(given.get("duration_seconds")),
        height_px=int(_number(info.get("height")) or _number(given.get("height_px")) or 0) or None,
        licence=_text(info, "license") or str(given.get("licence", "")) or None,
        age_limit=int(_number(info.get("age_limit")) or _number(given.get("age_limit")) or 0),
        is_live=bool(info.get("is_live")),
    )


def _listing(source: Source, info: dict[str, Any], config: DownloadConfig) -> Listing:
    """The entries of a playlist, channel, feed, search or page of several videos, each with a URL of its own."""
    entries = dict(_entries(source, info))
    kept = tuple(sorted(entries.items())[: config.max_listed])
    if not kept:
        title = plain_words(str(info.get("title") or info.get("id") or ""))
        raise Dropped("transient", "empty_list", f"{title!r} is a list of videos and names none")
    listed = sum(1 for entry in info.get("entries") or () if entry)
    return Listing(_text(info, "title"), kept, complete=listed <= config.max_listed)


def _entries(source: Source, info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in info.get("entries") or ():
        entry = entry or {}
        page = entry.get("webpage_url") if entry.get("_type", "video") == "video" else None
        location = page if page and page != source.location else entry.get("url") or ""
        if not str(location).lower().startswith(("http://", "https://")):
            continue  # a list from outside names nothing but the web
        known: dict[str, JSON] = {
            "title": _text(entry, "title"),
            "licence": _text(entry, "license"),
            "uploader": _text(entry, "uploader") or _text(entry, "channel"),
            "duration_seconds": _number(entry.get("duration")),
            "age_limit": _number(entry.get("age_limit")),
        }
        yield str(location), canonical_json({name: value for name, value in known.items() if value}).decode()


def _drop_other_parts(scratch: Path, info: dict[str, Any], validators: Validators) -> None:
    """Drop what an earlier attempt left, unless its server can say that it still is the same body.

    Only a single file of one URL can be asked for conditionally (RFC 9110, If-Range); fragments are fetched again.
    """
    whole = info.get("protocol") not in _FRAGMENTS and not info.get("fragments")
    if whole and validators.get(str(info.get("url", ""))):
        return
    drop_parts(scratch)


def _copy_of(cookies: Path) -> io.StringIO:
    """The cookies as a stream, so that yt-dlp writes nothing back into the user's file."""
    return io.StringIO(cookies.read_text(encoding="utf-8"))


def _given(source: Source) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(source.given) if source.given else {}
    return given


def _text(info: dict[str, Any], name: str) -> str:
    return plain_words(str(info.get(name) or ""))[:TITLE_CHARACTERS]


def _number(value: object) -> float | None:
    try:
        return float(value) if value is not None else None  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


class _ToolLog:
    """yt-dlp's logger: everything to ours at DEBUG, secrets out.

    The last words explain a file that is missing, and a warning what the error after it leaves open.
    """

    def __init__(self) -> None:
        self.last = ""
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        self._keep(message)

    def info(self, message: str) -> None:
        self._keep(message)

    def warning(self, message: str) -> None:
        self._keep(message)
        self.warnings.append(self.last)

    def error(self, message: str) -> None:
        self._keep(message)

    def _keep(self, message: str) -> None:
        self.last = plain_words(message) or self.last
        logger.debug("yt-dlp: %s", self.last)
