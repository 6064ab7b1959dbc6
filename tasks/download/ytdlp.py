"""Fetching one URL with yt-dlp as a library: no configuration files, plugins, cookies or programs of its own."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking._urllib import UrllibRH
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.version import __version__ as YTDLP_VERSION

from tasks.download.addresses import require_public
from tasks.download.config import DownloadConfig
from tasks.download.failures import dropped
from tasks.download.redaction import plain_words
from tasks.records import Dropped, Progress

logger = logging.getLogger(__name__)

_MAX_PAUSE_SECONDS = 30
TITLE_CHARACTERS = 200
_LISTS = frozenset({"playlist", "multi_video", "compat_list"})


@dataclass(frozen=True)
class Fetched:
    """A fetched file and what the site says about it; empty where it says nothing."""

    path: Path
    extractor: str
    title: str = ""
    licence: str = ""
    uploader: str = ""
    tool: str = ""


def fetch_url(url: str, config: DownloadConfig, scratch: Path, progress: Progress) -> Fetched:
    """Fetch one video of a URL into the scratch folder; raises Dropped with yt-dlp's words.

    Every request, redirects included, goes to a public host or to one of `allow_hosts`, and nothing above
    `max_bytes` is kept. A page that lists several videos is refused: each has its own URL.
    """
    require_public(url, config.allow_hosts)
    plugin_dirs.value = []  # process-wide: code from outside the lock never runs
    log = _ToolLog()
    guard = _Guard(config)
    try:
        with _Downloader(_options(config, scratch, log, _limit(config, progress)), guard) as tool:
            found = tool.extract_info(url, download=False)
            _require_one_video(found)
            info = tool.process_ie_result(found, download=True)
    except (yt_dlp.utils.YoutubeDLError, OSError) as error:
        raise guard.refusal or dropped(error) from error
    path = next((each for each in scratch.glob("video.*") if not each.name.endswith((".part", ".ytdl"))), None)
    if path is None:
        raise guard.refusal or dropped(log.last or f"yt-dlp left no file for {url}")
    return Fetched(
        path=path,
        extractor=str(info.get("extractor") or ""),
        title=plain_words(str(info.get("title") or ""))[:TITLE_CHARACTERS],
        licence=str(info.get("license") or "")[:TITLE_CHARACTERS],
        uploader=str(info.get("uploader") or "")[:TITLE_CHARACTERS],
        tool=YTDLP_VERSION,
    )


def format_expression(config: DownloadConfig) -> str:
    """The configured expression, or: the best under the cap, without sound where offered; else the smallest."""
    cap = f"[height<=?{config.max_height_px}]"
    return config.format or f"bestvideo{cap}/best{cap}/bestvideo*{cap}/worstvideo/worst"


def _options(
    config: DownloadConfig, scratch: Path, log: _ToolLog, hook: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    def pause_seconds(n: int) -> float:
        return float(min(2**n, _MAX_PAUSE_SECONDS))

    return {
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "logger": log,
        "format": format_expression(config),
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1:2",
        "paths": {"home": str(scratch), "temp": str(scratch)},
        "outtmpl": {"default": "video.%(ext)s"},
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
    }


def _limit(config: DownloadConfig, progress: Progress) -> Callable[[dict[str, Any]], None]:
    """A progress hook that also stops a body that no header announced as too large."""

    def hook(status: dict[str, Any]) -> None:
        done = int(status.get("downloaded_bytes") or 0)
        if done > config.max_bytes:
            raise Dropped(
                "permanent", "too_large", f"more than max_bytes = {config.max_bytes} bytes; stopped at {done}"
            )
        progress(done, int(status.get("total_bytes") or status.get("total_bytes_estimate") or 0), "bytes")

    return hook


def _require_one_video(info: dict[str, Any] | None) -> None:
    if info is None:
        raise Dropped("transient", "unknown", "yt-dlp gave no information and no error")
    if info.get("_type", "video") in _LISTS:
        title = plain_words(str(info.get("title") or info.get("id") or ""))
        raise Dropped("permanent", "playlist", f"{title!r} is a list of videos; give each video's own URL")
    if info.get("is_live"):
        raise Dropped("transient", "live", "the stream is live and has no end yet")


class _Downloader(yt_dlp.YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp with one request handler, whose requests the guard sees; no other way out of the process."""

    def __init__(self, options: dict[str, Any], guard: _Guard) -> None:
        self._guard_handler = guard
        super().__init__(options)

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        guard = self._guard_handler

        class GuardedUrllibRH(UrllibRH):  # type: ignore[misc]
            def _create_instance(self, *arguments: Any, **named: Any) -> Any:
                opener = super()._create_instance(*arguments, **named)
                opener.add_handler(guard.opener_handler())
                return opener

        return super().build_request_director([GuardedUrllibRH])


class _Guard:
    """Refuses requests to private hosts and remembers why, since yt-dlp wraps what a handler raises."""

    def __init__(self, config: DownloadConfig) -> None:
        self._allow_hosts = config.allow_hosts
        self.refusal: Dropped | None = None

    def opener_handler(self) -> urllib.request.BaseHandler:
        return _GuardHandler(self)

    def check(self, url: str) -> None:
        try:
            require_public(url, self._allow_hosts)
        except Dropped as refusal:
            self.refusal = refusal
            raise RequestError(str(refusal)) from refusal


class _GuardHandler(urllib.request.BaseHandler):
    """Sees every request of an opener before it is sent; a redirect is a new request."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        self._guard.check(request.full_url)
        return request

    https_request = http_request
    ftp_request = http_request


class _ToolLog:
    """yt-dlp's logger: everything to ours at DEBUG, secrets out; the last words explain a file that is missing."""

    def __init__(self) -> None:
        self.last = ""

    def debug(self, message: str) -> None:
        self._keep(message)

    def info(self, message: str) -> None:
        self._keep(message)

    def warning(self, message: str) -> None:
        self._keep(message)

    def error(self, message: str) -> None:
        self._keep(message)

    def _keep(self, message: str) -> None:
        self.last = plain_words(message) or self.last
        logger.debug("yt-dlp: %s", self.last)
