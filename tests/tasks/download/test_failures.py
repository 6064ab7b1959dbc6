"""The table of failures: one row for each thing that yt-dlp, HTTP and FFmpeg are known to say."""

from __future__ import annotations

import re

import pytest

from tasks.download.failures import FAILURES, classify, dropped

# Texts as the tools print them; those of sites are from yt-dlp's extractors.
TEXTS = [
    ("ERROR: [youtube] x: Sign in to confirm you’re not a bot. Use --cookies", "transient", "bot_check"),
    (
        "ERROR: [youtube] x: Video unavailable. Your account has been rate-limited by YouTube",
        "transient",
        "rate_limited",
    ),
    ("HTTP Error 429: Too Many Requests", "transient", "rate_limited"),
    ("ERROR: [youtube] x: This video is DRM protected", "permanent", "drm"),
    ("Join this channel to get access to members-only content like this video", "permanent", "members_only"),
    ("ERROR: [youtube] x: Private video. Sign in if you've been granted access", "permanent", "private"),
    ("ERROR: [youtube] x: Sign in to confirm your age. This video may be inappropriate", "permanent", "age_restricted"),
    ("The uploader has not made this video available in your country", "permanent", "geo_blocked"),
    ("This video is not available from your location due to geo restriction", "permanent", "geo_blocked"),
    ("HTTP Error 451: Unavailable For Legal Reasons", "permanent", "geo_blocked"),
    ("Video unavailable. This video is no longer available due to a copyright claim by X", "permanent", "copyright"),
    ("Video unavailable. This video has been removed by the uploader", "permanent", "removed"),
    ("the YouTube account associated with this video has been terminated", "permanent", "removed"),
    ("ERROR: [youtube] x: Video unavailable", "permanent", "unavailable"),
    ("ERROR: [youtube:tab] The playlist does not exist.", "permanent", "unavailable"),
    ("ERROR: [youtube] x: Premieres in 3 hours", "transient", "live"),
    ("This live event will begin in 5 days.", "transient", "live"),
    ("ERROR: [twitch] The channel is not currently live", "transient", "live"),
    (
        "This video is only available for registered users. Use --cookies, account credentials",
        "permanent",
        "login_required",
    ),
    ("No supported JavaScript runtime could be found", "transient", "no_javascript_runtime"),
    ("ERROR: Unsupported URL: https://example.com/", "permanent", "unsupported_url"),
    ("ERROR: [generic] 'x' is not a valid URL. Set --default-search", "permanent", "bad_url"),
    ("file:// URLs are disabled by default in yt-dlp for security reasons", "permanent", "bad_url"),
    ("Requested format is not available. Use --list-formats", "permanent", "no_format"),
    ("ERROR: [x] y: No video formats found!; please report this issue", "transient", "no_formats_found"),
    ("[download] File is larger than max-filesize (9 bytes > 5 bytes). Aborting.", "permanent", "too_large"),
    ("ERROR: Did not get any data blocks", "poison", "empty"),
    ("ERROR: The downloaded file is empty", "poison", "empty"),
    ("Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404>)", "permanent", "not_found"),
    ("HTTP Error 410: Gone", "permanent", "not_found"),
    ("ERROR: unable to download video data: HTTP Error 403: Forbidden", "transient", "forbidden"),
    ("HTTP Error 502: Bad Gateway", "transient", "server_error"),
    ("HTTP Error 504: Gateway Time-out", "transient", "timeout"),
    ("HTTP Error 418: I'm a teapot", "permanent", "http_refused"),
    ("HTTP Error 302: Found (redirect loop detected)", "permanent", "bad_redirect"),
    ("The read operation timed out", "transient", "timeout"),
    ("<urlopen error [Errno -2] Name or service not known>", "permanent", "unknown_host"),
    ("[Errno -3] Temporary failure in name resolution", "transient", "name_resolution"),
    (
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired",
        "permanent",
        "bad_certificate",
    ),
    ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "transient", "tls"),
    ("[Errno 104] Connection reset by peer", "transient", "connection_reset"),
    ("Remote end closed connection without response", "transient", "connection_reset"),
    ("[Errno 111] Connection refused", "transient", "unreachable"),
    ("[Errno 101] Network is unreachable", "transient", "unreachable"),
    ("IncompleteRead(500 bytes read, 99500 more expected)", "transient", "cut_short"),
    ("content too short (expected 100 bytes and served 50)", "transient", "cut_short"),
    ("Unable to connect to proxy", "transient", "proxy"),
    ("unable to write data: [Errno 28] No space left on device", "transient", "disk_full"),
    ("[Errno 13] Permission denied: '/data/clip.mp4'", "permanent", "unreadable"),
    ("embedded null byte", "permanent", "bad_path"),
    ("[Errno 36] File name too long: 'xxx'", "permanent", "bad_path"),
    ("Invalid data found when processing input; the file is empty", "poison", "empty"),
    ("fragment 3 not found, unable to continue", "transient", "fragment_missing"),
    ("truncated: packet 30 of the video ends before its bytes do", "poison", "truncated"),
    ("Invalid data found when processing input; [mov,mp4] moov atom not found", "poison", "moov_missing"),
    ("Invalid data found when processing input; the file begins with '<html>'", "poison", "web_page"),
    ("Invalid argument; [mov] Format not on whitelist 'mov'", "poison", "not_a_video"),
    ("Invalid data found when processing input", "poison", "unreadable_container"),
    ("Decoder not found", "poison", "unknown_codec"),
    ("no video stream in wav (audio pcm_s16le)", "poison", "no_video_stream"),
    ("no decodable frame in matroska,webm (vp9)", "poison", "no_frame"),
    ("End of file", "poison", "unreadable_container"),
    ("something that nobody has seen yet", "transient", "unknown"),
    ("", "transient", "unknown"),
]


@pytest.mark.parametrize(("words", "kind", "reason"), TEXTS)
def test_each_text_has_its_class_and_reason(words: str, kind: str, reason: str) -> None:
    assert classify(words) == (kind, reason)


def test_every_row_of_the_table_is_tried() -> None:
    assert {reason for _, _, reason in FAILURES} == {reason for _, _, reason in TEXTS} - {"unknown"}
    assert all(re.fullmatch(r"[a-z_]+", reason) for _, _, reason in FAILURES)


def test_words_are_whole_but_for_terminal_codes_and_secrets() -> None:
    long = "\x1b[0;31mERROR:\x1b[0m \r[generic] " + "x" * 5000 + " https://u:pw@host/a?token=abc&b=1 end\n"
    outcome = dropped(long)
    assert outcome.words == "ERROR: [generic] " + "x" * 5000 + " https://***@host/a?token=***&b=1 end"


def test_an_error_without_words_is_named_by_its_type() -> None:
    assert dropped(TimeoutError()).words == "TimeoutError"
