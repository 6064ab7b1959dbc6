"""Failure classes: one table from what yt-dlp, HTTP and FFmpeg say to a class and a counted reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from storage.versions import FailureClass
from tasks.download.failure_table import DECODING, FAILURES, SETTINGS, Row
from tasks.download.redaction import plain_words
from tasks.records import Dropped

# Reasons by which a host says that it wants no more requests from us for now: whoever asks on is blocked for longer.
# Not among them: 403, which YouTube gives for a media URL that has expired, and what a site says of one video alone
# (a login, a country; TikTok's "IP address is blocked from accessing this post", which it says of deleted posts too).
BLOCKING: frozenset[str] = frozenset({"bot_check", "rate_limited", "address_blocked"})

# Reasons that hold for every source of a host, and that pass: it does not answer, or the tool cannot read it.
UNREACHABLE: frozenset[str] = frozenset(
    {
        *("timeout", "unreachable", "connection_reset", "name_resolution", "unknown_host", "server_error"),
        *("tls", "bad_certificate", "proxy", "no_javascript_runtime", "challenge_failed", "tool_outdated"),
    }
)

# What yt-dlp's own exceptions mean, whatever their words; their texts are the sites', in any language.
_BY_TYPE: Mapping[str, tuple[FailureClass, str]] = {
    "GeoRestrictedError": ("permanent", "geo_blocked"),
    "UserNotLive": ("transient", "live"),
    "UnsupportedError": ("permanent", "unsupported_url"),
}
# Without its scripts and tokens YouTube lists no format: the error says no more than that, a warning before it does.
_EXPLAINED_BY_WARNINGS = frozenset({"no_format", "no_formats_found"})
_EXPLAINING = frozenset({"no_javascript_runtime", "challenge_failed", "tool_outdated", "missing_token"})

_VAGUE = frozenset({"unknown", "extractor_broken"})  # an HTTP status behind them says more
_AN_HOUR, _HOUR_SECONDS = "for up to an hour", 3600.0  # yt-dlp's words for how long YouTube limits a session

# What comes from outside within a text, and must not decide: a URL, a quoted title or path, a name in YouTube's words.
_HEAD = re.compile(r"(?:ERROR: ?)?(?:\[[^\]\s]+\] (?:.*: (?=Unable to download \w+)|[^\s:]+: )?)?")
_URL = re.compile(r"\b\w+://\S+")
_QUOTED = re.compile(r"(?:(?<=^)|(?<=[^,]\s))(?:'(?:\\.|[^'\\]|'(?=\w))*'(?!\w)|\"(?:\\.|[^\"\\])*\"(?!\w))")
_SAID = re.compile(r"\b(?:said|says|given): ?$")  # a site's own words may stand in quotes
_NAMES = re.compile(
    r"(?<=contains content from ).*?(?=, who has blocked)|(?<=on level: ).*?(?= \(or any higher level\))"
    r"|(?<=copyright claim by ).*"
)
_DECISIVE_CHARACTERS = 4000  # what comes later is a page or a log, and would cost time
_TYPOGRAPHY = str.maketrans("’‘“”", "''\"\"")

_Compiled = tuple[re.Pattern[str], FailureClass, str]


def _compiled(rows: Iterable[Row]) -> tuple[_Compiled, ...]:
    return tuple((re.compile(pattern, re.IGNORECASE), kind, reason) for pattern, kind, reason in rows)


_FAILURES, _DECODING = _compiled(FAILURES), _compiled(DECODING)


def dropped(error: BaseException | str, warnings: Iterable[str] = ()) -> Dropped:
    """A tool's error as a counted outcome, its own words kept whole but for terminal codes and secrets.

    Where yt-dlp's exceptions are firmer than their text, they decide: their type, the extractor's own message (which
    leaves out the video's id) and, for a text that no row knows, the HTTP status. `warnings`: what the tool warned of
    before; a format that is missing because YouTube's challenge was not solved is no verdict on the video.
    """
    chain = list(_chain(error)) if isinstance(error, BaseException) else []
    words = plain_words(str(error)) or type(error).__name__
    kind, reason = _verdict(str(error), chain)
    for warning in warnings if reason in _EXPLAINED_BY_WARNINGS else ():
        found = classify(warning)
        if found[1] in _EXPLAINING:
            kind, reason = found
            words = f"{words}; {plain_words(warning)}"
            break
    retry_after = _HOUR_SECONDS if reason == "rate_limited" and _AN_HOUR in words else 0.0
    return Dropped(kind, reason, words, SETTINGS.get(reason, ()), retry_after)


def undecodable(words: str) -> Dropped:
    """What FFmpeg says of a file, as a counted outcome; what no row knows is poison, since the bytes do not change.

    Rows about sites are left out: a hostile file can put any text in FFmpeg's log.
    """
    words = plain_words(words)
    kind, reason = _first(_DECODING, _undecided(words)) or ("poison", "unreadable_container")
    return Dropped(kind, reason, words, SETTINGS.get(reason, ()))


def classify(words: str) -> tuple[FailureClass, str]:
    """The class and reason of a tool's words; what no row knows is transient `unknown`, and is tried again."""
    return _first(_FAILURES, _undecided(words)) or ("transient", "unknown")


def _verdict(text: str, chain: Sequence[BaseException]) -> tuple[FailureClass, str]:
    """By the error of the extractor where there is one: it knows where its message begins, behind any text as an id."""
    for one in chain:
        said = getattr(one, "orig_msg", "")
        ie, video_id = getattr(one, "ie", None), getattr(one, "video_id", None)
        before = (f"[{ie}] " if ie else "") + (f"{video_id}: " if video_id else "")
        if said and before + said in text:
            kind, reason = _BY_TYPE.get(type(one).__name__) or classify(text[text.index(before + said) + len(before) :])
            break
    else:
        kind, reason = classify(text)
    if reason in _VAGUE and (status := next(filter(None, (getattr(one, "status", 0) for one in chain)), 0)):
        return classify(f"HTTP Error {status}")
    return kind, reason


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; yt-dlp keeps that in `exc_info` and `cause` beside where Python does."""
    waiting: list[BaseException] = [error]
    seen: list[BaseException] = []
    while waiting:
        one = waiting.pop(0)
        if any(one is each for each in seen):
            continue
        seen.append(one)
        yield one
        exc_info = getattr(one, "exc_info", None) or (None, None, None)
        behind = (exc_info[1], getattr(one, "cause", None), one.__cause__, one.__context__)
        waiting += [each for each in behind if isinstance(each, BaseException)]


def _undecided(words: str) -> str:
    """The words with what comes from outside taken out: the video's id, URLs, quoted titles and paths, names."""
    text = " ".join(words[:_DECISIVE_CHARACTERS].translate(_TYPOGRAPHY).split())
    text = _URL.sub("...", text[_HEAD.match(text).end() :])  # type: ignore[union-attr]  # it matches nothing, too
    return _NAMES.sub("...", _QUOTED.sub(_without_quoted, text))


def _without_quoted(match: re.Match[str]) -> str:
    return match[0] if _SAID.search(match.string, 0, match.start()) else "''"


def _first(rows: Iterable[_Compiled], text: str) -> tuple[FailureClass, str] | None:
    return next(((kind, reason) for pattern, kind, reason in rows if pattern.search(text)), None)
