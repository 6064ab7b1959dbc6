"""Failure classes: one table from what yt-dlp, HTTP and FFmpeg say to a class and a counted reason."""

from __future__ import annotations

import re

from storage.versions import FailureClass
from tasks.download.redaction import plain_words
from tasks.records import Dropped

# The first row that matches decides, so the narrower text stands first. `permanent`: gone for good or needs
# the user; `transient`: the next run tries again; `poison`: bytes that no tool reads as a video.
FAILURES: tuple[tuple[str, FailureClass, str], ...] = (
    # What a site says about a video.
    (r"not a bot|unusual traffic|captcha", "transient", "bot_check"),
    (r"rate.?limited|HTTP Error 429|Too Many Requests", "transient", "rate_limited"),
    (r"DRM.protected|known to use DRM", "permanent", "drm"),
    (
        r"members.only|Join this channel|only available (to|for) (\w+ )*(members|subscribers)",
        "permanent",
        "members_only",
    ),
    (r"Private video|video is private|not granted access", "permanent", "private"),
    (r"confirm your age|age.restricted|inappropriate for some users", "permanent", "age_restricted"),
    (r"(in|from) your (country|location|region)|geo.?restrict|HTTP Error 451", "permanent", "geo_blocked"),
    (r"copyright (claim|grounds|infring)|blocked it", "permanent", "copyright"),
    (r"(video|clip|account|file) .*(has been|was|been) (removed|deleted|terminated|suspended)", "permanent", "removed"),
    (
        r"(video|content) (is )?(unavailable|not available|no longer available)|does not exist",
        "permanent",
        "unavailable",
    ),
    (r"Premieres in|event will begin|offline|not currently live|is live", "transient", "live"),
    (r"login.required|log in|logged.in|Sign in|account credentials|HTTP Error 401", "permanent", "login_required"),
    (r"JavaScript runtime|EJS|challenge solving failed", "transient", "no_javascript_runtime"),
    # What yt-dlp says about a URL.
    (r"Unsupported URL", "permanent", "unsupported_url"),
    (r"not a valid URL|unsupported url scheme|URLs are disabled|no host given|Invalid URL", "permanent", "bad_url"),
    (r"Requested format is not available", "permanent", "no_format"),
    (r"No video formats found", "transient", "no_formats_found"),
    (r"larger than max-filesize", "permanent", "too_large"),
    (r"Did not get any data blocks|file is empty", "poison", "empty"),
    # HTTP and the network below it.
    (r"HTTP Error (404|410)", "permanent", "not_found"),
    (r"HTTP Error (403|405|406)", "transient", "forbidden"),
    (r"HTTP Error (408|504)|timed.?out|Timeout", "transient", "timeout"),
    (r"HTTP Error 5\d\d", "transient", "server_error"),
    (r"HTTP Error 4\d\d", "permanent", "http_refused"),
    (r"HTTP Error 3\d\d|redirect (loop|error)|infinite loop|too many redirects", "permanent", "bad_redirect"),
    (r"Name or service not known|nodename nor servname|No address associated", "permanent", "unknown_host"),
    (r"name resolution|getaddrinfo failed", "transient", "name_resolution"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", "permanent", "bad_certificate"),
    (r"SSL|TLS|EOF occurred in violation of protocol", "transient", "tls"),
    (r"Connection reset|Broken pipe|Connection aborted|closed connection", "transient", "connection_reset"),
    (r"Connection refused|unreachable|No route to host", "transient", "unreachable"),
    (r"IncompleteRead|content too short|more expected|Downloaded \d+ bytes, expected", "transient", "cut_short"),
    (r"proxy", "transient", "proxy"),
    (r"No space left on device", "transient", "disk_full"),
    (r"Permission denied", "permanent", "unreadable"),
    (r"embedded null|File name too long|Not a directory", "permanent", "bad_path"),
    (r"fragment \d+ not found|fragments? .*(unable|missing)", "transient", "fragment_missing"),
    # FFmpeg, through PyAV, on the bytes.
    (r"file begins with '<", "poison", "web_page"),
    (r"truncated: packet", "poison", "truncated"),
    (r"moov atom not found", "poison", "moov_missing"),
    (r"Format not on whitelist", "poison", "not_a_video"),
    (r"Invalid data found|Error number -?\d+ occurred", "poison", "unreadable_container"),
    (r"Decoder not found|not implemented|Unknown codec|PatchWelcome", "poison", "unknown_codec"),
    (r"no video stream", "poison", "no_video_stream"),
    (r"no decodable frame", "poison", "no_frame"),
    (r"End of file|Invalid argument", "poison", "unreadable_container"),
)

_ROWS = tuple((re.compile(pattern, re.IGNORECASE), kind, reason) for pattern, kind, reason in FAILURES)


def classify(words: str) -> tuple[FailureClass, str]:
    """The class and reason of a tool's words; what no row knows is transient `unknown`, and is tried again."""
    for pattern, kind, reason in _ROWS:
        if pattern.search(words):
            return kind, reason
    return "transient", "unknown"


def dropped(error: BaseException | str) -> Dropped:
    """A tool's error as a counted outcome, its own words kept whole but for terminal codes and secrets."""
    words = plain_words(str(error)) or type(error).__name__
    kind, reason = classify(words)
    return Dropped(kind, reason, words)
