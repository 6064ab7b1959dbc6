"""The table of failures: what each tool is known to say gets its class and reason, and no title or URL decides."""

from __future__ import annotations

import io
import logging
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yt_dlp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from tasks.download.config import DownloadConfig
from tasks.download.failure_table import DECODING, SETTINGS
from tasks.download.failures import BLOCKING, FAILURES, UNREACHABLE, _undecided, classify, dropped, undecodable
from tasks.records import Dropped

_LINES = Path(__file__).with_name("failure_texts.tsv").read_text(encoding="utf-8").splitlines()
TEXTS = [
    (text.replace(r"\n", "\n"), kind, reason)
    for kind, reason, text in (line.split("\t") for line in _LINES if line and not line.startswith("# "))
]
HOSTILE = "This video has been removed (captcha): Sign in to confirm you're not a bot, HTTP Error 404, Private video"


@pytest.mark.parametrize(("words", "kind", "reason"), TEXTS)
def test_each_text_has_its_class_and_reason(words: str, kind: str, reason: str) -> None:
    assert classify(words) == (kind, reason)


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    assert len(TEXTS) >= 300
    assert len({words for words, _, _ in TEXTS}) == len(TEXTS)


def test_every_alternative_of_every_row_decides_some_text() -> None:
    """So no row hides behind a wider one above it, and none is guessed."""
    decisive = [_deciding(words) for words, _, _ in TEXTS]
    idle = [
        (reason, alternative)
        for row, (pattern, _, reason) in enumerate(FAILURES)
        for alternative in _alternatives(pattern)
        if not any(row == found and re.search(alternative, text, re.IGNORECASE) for found, text in decisive)
    ]
    assert idle == []


def test_a_reason_has_one_class() -> None:
    classes = {(reason, kind) for _, kind, reason in FAILURES}
    assert len(classes) == len({reason for reason, _ in classes})
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason, _ in classes)


def test_the_reasons_that_close_a_host_are_reasons_and_pass() -> None:
    kinds = {reason: kind for _, kind, reason in FAILURES}
    assert kinds.keys() >= BLOCKING | UNREACHABLE
    assert BLOCKING.isdisjoint(UNREACHABLE)
    assert {kinds[reason] for reason in BLOCKING} == {"transient"}
    assert {reason for reason in UNREACHABLE if kinds[reason] != "transient"} == {"unknown_host"}
    of_one_video = {"forbidden", "login_required", "geo_blocked", "private", "address_refused", "not_found"}
    assert not of_one_video & (BLOCKING | UNREACHABLE)


@pytest.mark.parametrize(
    "frame",
    [
        "ERROR: [generic] {}: Unable to download webpage: The read operation timed out",
        "ERROR: [youtube] https://example.com/{}: The read operation timed out",
        "The read operation timed out: '{}'",
        'The read operation timed out while fetching "{}"',
        "[Errno 110] Connection timed out: https://example.com/?title={}",
    ],
)
@pytest.mark.parametrize("title", ["captcha", "This video has been removed", HOSTILE.replace("'", "’")])
def test_no_title_or_url_decides(frame: str, title: str) -> None:
    text = frame.format(title.replace(" ", "%20") if "https:" in frame else title)
    assert classify(text) == ("transient", "timeout")


@pytest.mark.parametrize("name", ["not a bot", "Captcha Club: rate-limited", "Private video"])
def test_no_name_within_a_sites_words_decides(name: str) -> None:
    said = "ERROR: [youtube] x: Video unavailable. This video contains content from {}, who has blocked it"
    assert classify(said.format(name)) == ("permanent", "copyright")
    assert classify(f"This video is no longer available due to a copyright claim by {name}")[1] == "copyright"


def test_a_sites_own_words_decide_though_they_are_quoted() -> None:
    assert classify('[facebook] 1: Facebook said: "This video has been removed"')[1] == "removed"


@pytest.mark.parametrize("identity", [HOSTILE, f"Unable to reach the page: timed out {HOSTILE}", "x", "", "a: b: c"])
def test_the_id_of_a_video_never_decides(identity: str) -> None:
    cause = TransportError("timed out")
    outcome = dropped(_raised(ExtractorError, f"Unable to reach the page: {cause}", cause=cause, video_id=identity))
    assert (outcome.kind, outcome.reason) == ("transient", "timeout")
    assert identity in outcome.words


def test_yt_dlp_itself_names_a_hostile_url_and_is_not_misread() -> None:
    """Its generic extractor takes the id from the URL: the text before the error is the list's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{HOSTILE}.mp4"
        options = {"quiet": True, "logger": logging.getLogger(__name__), "retries": 0, "extractor_retries": 0}
        with yt_dlp.YoutubeDL(options) as tool, pytest.raises(DownloadError) as caught:
            tool.extract_info(url, download=False)
    assert "captcha" in str(caught.value)
    assert dropped(caught.value).reason == "unreachable"


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda: _raised(GeoRestrictedError, "Ce contenu n'est pas disponible"), "permanent", "geo_blocked"),
        (lambda: _raised(UserNotLive, "なし", video_id="x"), "transient", "live"),
        (lambda: _raised(UnsupportedError, f"https://x/{HOSTILE}"), "permanent", "unsupported_url"),
        (lambda: _raised(ExtractorError, "Nix da", cause=_http_error(404), video_id="x"), "permanent", "not_found"),
        (lambda: _raised(ExtractorError, "Nix da", cause=_http_error(429), video_id="x"), "transient", "rate_limited"),
        (lambda: _raised(ExtractorError, "Nix da", video_id="x"), "transient", "extractor_broken"),
        (lambda: DownloadError("ERROR: Nix da"), "transient", "unknown"),
        (lambda: OSError(28, "No space left on device"), "transient", "disk_full"),
    ],
    ids=["country", "not live", "unsupported", "404", "429", "unexpected", "unknown", "errno"],
)
def test_what_an_exception_knows_decides(make: Callable[[], BaseException], kind: str, reason: str) -> None:
    outcome = dropped(make())
    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_errors_that_hold_each_other_are_followed_once() -> None:
    one, other = DownloadError("one"), DownloadError("other")
    one.__cause__, other.__context__ = other, one
    assert dropped(one).reason == "unknown"


def test_a_missing_format_is_explained_by_the_warning_before_it() -> None:
    text = "ERROR: [youtube] x: Requested format is not available. Use --list-formats"
    warning = "[youtube] x: n challenge solving failed: Some formats may be missing. See https://u:pw@example.com"
    explained = dropped(text, ["[youtube] Falling back on generic information extractor", warning])
    assert (explained.kind, explained.reason, explained.settings) == ("transient", "challenge_failed", ())
    assert explained.words == f"{text}; {warning.replace('u:pw', '***')}"
    assert dropped(text).settings == ("format", "max_height_px")
    assert dropped("ERROR: [youtube] x: Private video", [warning]).reason == "private"


def test_a_verdict_names_the_settings_that_it_rests_on() -> None:
    assert dropped("[download] File is larger than max-filesize (9 bytes > 5 bytes)").settings == ("max_bytes",)
    assert dropped("HTTP Error 404: Not Found").settings == ()
    assert {name for names in SETTINGS.values() for name in names} <= DownloadConfig.model_fields.keys()


def test_a_host_that_names_its_time_is_believed() -> None:
    limited = "Video unavailable. This content isn't available, try again later. "
    assert (
        dropped(limited + "The current session has been rate-limited by YouTube for up to an hour.").retry_after == 3600
    )
    assert dropped(limited).retry_after == 0


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        ("something that nobody has seen yet", "poison", "unreadable_container"),
        ("Invalid data found; [matroska] EBML doctype not a bot, HTTP Error 429", "poison", "unreadable_container"),
        ("Stream not found", "poison", "unreadable_container"),
        ("moov atom not found; the file begins with '<html>Video unavailable'", "poison", "web_page"),
        ("[Errno 24] Too many open files", "transient", "too_many_files"),
    ],
)
def test_what_ffmpeg_says_is_read_as_what_it_is(words: str, kind: str, reason: str) -> None:
    outcome = undecodable(words)
    assert (outcome.kind, outcome.reason, outcome.words) == (kind, reason, words)
    assert set(DECODING) < set(FAILURES)


def test_words_are_whole_but_for_terminal_codes_and_secrets() -> None:
    long = "\x1b[0;31mERROR:\x1b[0m \r[generic] " + "x" * 5000 + " https://u:pw@host/a?token=abc&b=1 end\n"
    outcome = dropped(long)
    assert outcome.words == "ERROR: [generic] " + "x" * 5000 + " https://***@host/a?token=***&b=1 end"


def test_an_error_without_words_is_named_by_its_type() -> None:
    assert dropped(TimeoutError()).words == "TimeoutError"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text())
@example("'" * 3999)
@example(" '" * 2000)
@example("[generic] " + ": " * 2000)
def test_any_text_is_classified(words: str) -> None:
    kind, reason = classify(words)
    assert kind in ("permanent", "transient", "poison")
    assert reason


def _raised(kind: Callable[..., ExtractorError], *arguments: object, **named: object) -> BaseException:
    """The error as yt-dlp hands it on: wrapped in a DownloadError, with the id put before its text."""
    try:
        try:
            raise kind(*arguments, **named)
        except ExtractorError as error:
            error.ie = "generic" if named else None
            raise DownloadError(f"ERROR: {error}", (type(error), error, error.__traceback__)) from None
    except DownloadError as error:
        return error


def _http_error(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(b""), "https://example.com/", {}, status=status))


def _deciding(words: str) -> tuple[int, str]:
    """The row that decides, and the text that it sees."""
    text = _undecided(words)
    rows = (row for row, (pattern, _, _) in enumerate(FAILURES) if re.search(pattern, text, re.IGNORECASE))
    return next(rows, -1), text


def _alternatives(pattern: str) -> Iterator[str]:
    """The parts of a pattern between the bars that stand in no group."""
    depth, start = 0, 0
    for place, mark in enumerate(re.sub(r"\\.|\[[^\]]*\]", lambda match: "_" * len(match[0]), pattern)):
        depth += (mark == "(") - (mark == ")")
        if mark == "|" and depth == 0:
            yield pattern[start:place]
            start = place + 1
    yield pattern[start:]


def test_the_splitter_of_this_test_splits() -> None:
    assert list(_alternatives(r"a|(b|c)d|[|]|\|")) == ["a", "(b|c)d", "[|]", r"\|"]


def test_an_outcome_survives_the_way_between_processes() -> None:
    outcome = dropped("HTTP Error 429: Too Many Requests")
    copy = pickle.loads(pickle.dumps(outcome))
    assert isinstance(copy, Dropped)
    assert vars(copy) == vars(outcome)
