"""Redaction: no secret survives in what is kept, a second time changes nothing, and ordinary words stay."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.download.redaction import plain_words, redact

# Where a secret stands in a URL, in the form that the services print; <S> is the secret.
URLS = [
    "https://user:<S>@example.com/clip.mp4",
    "https://<S>@example.com/clip.mp4",
    "http://<S>:x@[::1]:3128",
    "socks5h://user:<S>@proxy.example:1080",
    "user:<S>@proxy.example:3128",
    "https://example.com/?access_token=<S>&v=1",
    "https://example.com/#id_token=<S>",
    "https://example.com/clip.mp4?v=1;session_id=<S>;t=2",
    "https://example.com/?password=<S>",
    "https://example.com/?api_key=<S>&page=2",
    "https://bucket.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=<S>&X-Amz-Expires=300",
    "https://bucket.s3.amazonaws.com/k?X-Amz-Security-Token=<S>&X-Amz-SignedHeaders=host",
    "https://bucket.s3.amazonaws.com/k?X-Amz-Date=20261124T000000Z&X-Amz-Signature=<S>",
    "https://bucket.s3.amazonaws.com/k?AWSAccessKeyId=<S>&Expires=1&Signature=x",
    "https://d111.cloudfront.net/v.mp4?Expires=1767290400&Signature=<S>&Key-Pair-Id=K2JC",
    "https://d111.cloudfront.net/v.mp4?Policy=<S>&Signature=x&Key-Pair-Id=K2JC",
    "https://d111.cloudfront.net/v.mp4?Expires=1&Signature=x&Key-Pair-Id=<S>",
    "https://rr2---sn-a.googlevideo.com/videoplayback?expire=<S>&itag=18&sig=x",
    "https://rr2---sn-a.googlevideo.com/videoplayback?itag=18&ip=<S>&lsig=x",
    "https://rr2---sn-a.googlevideo.com/videoplayback?itag=18&sig=<S>",
    "https://rr2---sn-a.googlevideo.com/videoplayback?itag=18&lsig=<S>",
    "https://rr2---sn-a.googlevideo.com/videoplayback?itag=18&pot=<S>",
    "https://manifest.googlevideo.com/api/manifest/hls_playlist/id/x/sig/<S>/playlist/index.m3u8",
    "https://manifest.googlevideo.com/api/manifest/hls_playlist/pot/<S>/lsig/x/file/index.m3u8",
    "https://me.blob.core.windows.net/c/v.mp4?sv=2022-11-02&se=2026&sr=b&sp=r&sig=<S>",
    "https://me.blob.core.windows.net/c/v.mp4?se=<S>&sr=b&sp=r&sig=x",
    "https://me.blob.core.windows.net/c/v.mp4?sig=x&skoid=<S>",
    "https://storage.googleapis.com/b/v.mp4?X-Goog-Algorithm=GOOG4&X-Goog-Credential=<S>&X-Goog-Date=1",
    "https://storage.googleapis.com/b/v.mp4?X-Goog-Signature=<S>",
    "https://x.akamaized.net/exp=1~acl=%2F*~hmac=<S>",
    "https://x.akamaihd.net/v.mp4?hdnea=<S>",
    "https://scontent.xx.fbcdn.net/v.mp4?_nc_cat=1&oh=<S>&oe=63082106",
    "https://login.example/?next=https%3A%2F%2Fexample.com%2F%3Ftoken%3D<S>%26v%3D1",
]

# Where one stands in the headers of a request or an answer, as tools and languages print them.
HEADERS = [
    "Authorization: Bearer <S>",
    "authorization: Basic <S>",
    "Proxy-Authorization: Basic <S>\r\nHost: example.com",
    "Cookie: SID=<S>",
    "Cookie: a=1; SID=<S>; b=2",
    "Set-Cookie: SID=<S>; Path=/; HttpOnly",
    "X-Api-Key: <S>",
    "X-Auth-Token: <S>",
    "{'Cookie': 'a=1; SID=<S>', 'Host': 'example.com'}",
    '{"authorization": "Bearer <S>", "host": "example.com"}',
    "[('Set-Cookie', 'SID=<S>'), ('Host', 'example.com')]",
    "send: b'GET / HTTP/1.1\\r\\nHost: example.com\\r\\nCookie: SID=<S>\\r\\nAccept: */*\\r\\n'",
    "{'Cookie': 'a=1; SID=<S>",
    "the answer was 401 for bearer <S>",
]

IN_URL = string.ascii_letters + string.digits + "-._~!$'()*+,:="
IN_HEADER = string.ascii_letters + string.digits + "-._~+/="
MARKS = "?&;#~@:/='\"\\ \r\nax"
PIECES = [*MARKS, "://", "%3F", "%26", "%3D", "***", "token", "sig", "pot", "Cookie", "x-key", "\\r\\n", "bearer "]
ORDINARY = string.ascii_letters + string.digits + " .,!()[]-_/äé中\n"


def secrets(alphabet: str) -> st.SearchStrategy[str]:
    """Secrets that no template holds by chance."""
    return st.text(alphabet, max_size=40).map(lambda text: f"hunter2{text}")


@settings(max_examples=25, deadline=None, derandomize=True)
@pytest.mark.parametrize("template", URLS)
@given(
    secret=secrets(IN_URL),
    before=st.sampled_from(["", "Unable to open ", "caused by ('"]),
    after=st.sampled_from(["", " end"]),
)
@example(secret="hunter2%2F%3D%2B", before="", after=" (caused by <HTTPError 403: Forbidden>)")
@example(secret="hunter2", before="ERROR: [generic] ", after=": HTTP Error 403")
def test_no_secret_of_a_url_survives(template: str, secret: str, before: str, after: str) -> None:
    kept = redact(before + template.replace("<S>", secret) + after)
    assert "hunter2" not in kept
    assert "***" in kept
    assert redact(kept) == kept


@settings(max_examples=25, deadline=None, derandomize=True)
@pytest.mark.parametrize("template", HEADERS)
@given(secret=secrets(IN_HEADER))
def test_no_secret_of_a_header_survives(template: str, secret: str) -> None:
    kept = redact(template.replace("<S>", secret))
    assert "hunter2" not in kept
    assert redact(kept) == kept


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
@example("Cookie: ***")
@example("'Cookie': '***', 'a': 'b'")
@example("://@://@")
def test_redacting_twice_changes_nothing(text: str) -> None:
    kept = redact(text)
    assert redact(kept) == kept
    assert plain_words(plain_words(text)) == plain_words(text)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(ORDINARY))
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=42s&list=PL1",
        "https://example.com/clip.mp4?expires=never&se=1&ip=x",  # no signature beside them
        "https://example.com/sig/pot/clip.mp4",
        "https://example.com:8080/a:b@c/d",
        "mailto:someone@example.com",
        "write to someone@example.com",
        "[youtube] x: Use --cookies-from-browser or --cookies for the authentication",
        "[Errno 2] No such file or directory: '/data/cookies.txt'",
        "SSL: CERTIFICATE_VERIFY_FAILED",
        "download.max_bytes = 5",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_what_is_not_secret_beside_a_secret_stays() -> None:
    text = "https://me:pw@example.com/clip.mp4?v=1&token=abc&t=2 (HTTP Error 403)"
    assert redact(text) == "https://***@example.com/clip.mp4?v=1&token=***&t=2 (HTTP Error 403)"
    assert redact("{'Cookie': 'a=1', 'Host': 'example.com'}") == "{'Cookie': '***', 'Host': 'example.com'}"
    assert redact("key AKIAIOSFODNN7EXAMPLE is unknown") == "key *** is unknown"


@pytest.mark.parametrize(
    "text",
    ["https://x/?" + "token" * 20_000, "a:b," * 20_000, "x-" + "key" * 20_000, "'cookie':'" * 10_000, "?&;#~" * 10_000],
)
def test_a_long_hostile_text_is_redacted_like_any_other(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_terminal_codes_and_outer_white_space_go() -> None:
    assert plain_words("\x1b[0;31mERROR:\x1b[0m \rfailed \n") == "ERROR: failed"
