"""Answers of a server that breaks HTTP: statuses, heads, lengths, encodings, and bodies that never end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from tests.hostile.answers import Headers, drip, endless, head_bytes, raw, reset, respond, stall
from tests.hostile.clips import clip
from tests.hostile.records import Specimen
from tests.hostile.server import Answer

_KEPT = frozenset({"kept"})
_LATER = frozenset({"transient"})
_GONE = frozenset({"permanent"})
_POISON = frozenset({"poison"})
_ANY = _LATER | _GONE | _POISON
_TOO_LARGE = frozenset({"permanent too_large"})
_VIDEO = [("Content-Type", "video/mp4")]
_PAGE = [("Content-Type", "text/html")]


def broken_replies() -> Iterator[Specimen]:
    film = clip("mp4", "mpeg4")
    for name, allowed, answer in (*_statuses(film), *_heads(film), *_lengths(film), *_encodings(film), *_types(film)):
        yield Specimen(name, allowed, answer=answer)
    for name, allowed, answer in _endless(film):
        yield Specimen(name, allowed | {"transient time_limit"}, answer=answer, fields={"max_fetch_seconds": 3})


_Row = tuple[str, frozenset[str], Answer]


def _statuses(film: bytes) -> Iterator[_Row]:
    for status, allowed in (
        ("204 No Content", _ANY),
        ("205 Reset Content", _ANY),
        ("300 Multiple Choices", _ANY),
        ("304 Not Modified", _ANY),
        ("400 Bad Request", _GONE),
        ("401 Unauthorized", frozenset({"permanent login_required"})),
        ("402 Payment Required", _GONE),
        ("403 Forbidden", frozenset({"transient forbidden"})),
        ("404 Not Found", frozenset({"permanent not_found"})),
        ("407 Proxy Authentication Required", _ANY),
        ("410 Gone", frozenset({"permanent not_found"})),
        ("416 Range Not Satisfiable", _ANY),
        ("418 I'm a teapot", _GONE),
        ("429 Too Many Requests", frozenset({"transient rate_limited"})),
        ("451 Unavailable For Legal Reasons", frozenset({"permanent geo_blocked"})),
        ("500 Internal Server Error", frozenset({"transient server_error"})),
        ("503 Service Unavailable", frozenset({"transient server_error"})),
        ("511 Network Authentication Required", _ANY),
        ("599 What", _ANY),
        ("999 Request denied", _ANY),
        ("000 Nothing", _ANY),
        ("-1 Negative", _ANY),
        ("99999 Too long", _ANY),
        ("two hundred", _ANY),
    ):
        yield f"status/{status}", allowed, respond(b"", "text/html", status)
    for name, value in (
        ("for ever", "9" * 40),
        ("of words", "soon"),
        ("long ago", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("below 0", "-5"),
    ):
        asking = respond(b"", "text/html", "429 Too Many Requests", [("Retry-After", value)])
        yield f"status/429 and come back {name}", frozenset({"transient rate_limited"}), asking
    yield "status/206 without a range", _KEPT | _ANY, respond(film, status="206 Partial Content")
    lie = [("Content-Range", "bytes 5000-9/3")]
    yield "status/206 of a range that is none", _KEPT | _ANY, respond(film, status="206 Partial Content", headers=lie)
    yield "status/200 with no reason", _KEPT, raw(b"HTTP/1.1 200\r\nContent-Type: video/mp4\r\n\r\n", film)


def _heads(film: bytes) -> Iterator[_Row]:
    length = f"Content-Length: {len(film)}\r\n\r\n".encode()
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
    yield "head/none, as in HTTP 0.9", _ANY, raw(film)
    yield "head/noise", _ANY, raw(bytes(range(256)) * 40)
    yield "head/of another protocol", _ANY, raw(b"SSH-2.0-OpenSSH_9.9\r\n")
    yield "head/of HTTP 2", _ANY, raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield "head/of HTTP 9.9", _KEPT | _ANY, raw(plain.replace(b"1.1", b"9.9") + length, film)
    yield "head/closed at once", _LATER, raw(b"")
    yield "head/reset at once", _LATER, reset()
    yield "head/cut", _ANY | _KEPT, raw(plain)
    yield "head/a line of 300 kB", _ANY, raw(plain + b"X-Long: " + b"x" * 300_000 + b"\r\n" + length, film)
    yield "head/a status of 300 kB", _ANY, raw(b"HTTP/1.1 200 " + b"x" * 300_000 + b"\r\n" + length, film)
    yield "head/a status that writes to the terminal", _ANY, raw(b"HTTP/1.1 500 \x1b]0;hello\x07\x1b[31mx\x08\r\n\r\n")
    yield "head/ten thousand lines", _ANY, raw(plain + b"X-More: 1\r\n" * 10_000 + length, film)
    yield "head/a line without a colon", _KEPT | _ANY, raw(plain + b"hello\r\n" + length, film)
    yield "head/NUL in it", _KEPT | _ANY, raw(plain + b"X-\0: \0\r\n" + length, film)
    yield "head/not in ASCII", _KEPT | _ANY, raw(plain + "X-Ünïcode: ☃\r\n".encode() + length, film)
    yield "head/folded", _KEPT | _ANY, raw(plain + b"X-A: b\r\n\t c\r\n\t d\r\n" + length, film)
    yield "head/ends of lines alone", _KEPT | _ANY, raw((plain + length).replace(b"\r\n", b"\n"), film)
    yield (
        "head/a hundred interim answers",
        _KEPT | _ANY,
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + plain + length, film),
    )
    for name, value in (
        ("that climbs", 'attachment; filename="../../../../tmp/tritrack-was-here.sh"'),
        ("from the root", 'attachment; filename="/tmp/tritrack-was-here"'),
        ("with an end of line", 'attachment; filename="a\r\nX-Injected: 1\r\n.mp4"'),
        ("of 5,000 letters", f'attachment; filename="{"x" * 5_000}.mp4"'),
        ("in percent", "attachment; filename*=UTF-8''..%2f..%2ftritrack%00.mp4"),
        ("with a NUL", 'attachment; filename="a\0.mp4"'),
        ("of an option", 'attachment; filename="--exec=touch /tmp/tritrack-was-here"'),
        ("of a template", 'attachment; filename="%(title)s.%(ext)s"'),
    ):
        named = plain + f"Content-Disposition: {value}\r\n".encode("latin-1") + length
        yield f"head/a name {name}", _KEPT, raw(named, film)
    cookies = b"".join(b"Set-Cookie: c%d=%s; Domain=127.0.0.1\r\n" % (each, b"x" * 2_000) for each in range(90))
    yield "head/180 kB of cookies", _KEPT | _ANY, raw(plain + cookies + length, film)


def _lengths(film: bytes) -> Iterator[_Row]:
    def sized(*lengths: object) -> bytes:
        return head_bytes(headers=[*_VIDEO, *(("Content-Length", str(each)) for each in lengths)])

    size = len(film)
    for name, allowed, lengths in (
        ("too short", _POISON | _LATER, (size // 2,)),
        ("too long", _LATER | _POISON, (size + 5_000,)),
        ("of 2^63", _TOO_LARGE | _LATER, (1 << 63,)),
        ("of a hundred digits", _ANY, ("9" * 100,)),
        ("below 0", _KEPT | _ANY, (-5,)),
        ("of 0", _POISON | _LATER, (0,)),
        ("of words", _KEPT | _ANY, ("many",)),
        ("with a sign", _KEPT | _ANY, (f"+{size}",)),
        ("in hexadecimal", _KEPT | _ANY, (hex(size),)),
        ("empty", _KEPT | _ANY, ("",)),
        ("twice", _KEPT | _ANY, (size, size)),
        ("twice, and not the same", _KEPT | _ANY, (10, size)),
    ):
        yield f"length/{name}", allowed, raw(sized(*lengths), film)
    yield "length/none", _KEPT, raw(head_bytes(headers=_VIDEO), film)
    yield "length/reset in the middle", _LATER | _POISON, reset(sized(size) + film[: size // 2])
    chunked = head_bytes(headers=[*_VIDEO, ("Transfer-Encoding", "chunked")])
    for name, allowed, body in (
        ("whole", _KEPT, b"%x\r\n%s\r\n0\r\n\r\n" % (size, film)),
        ("without an end", _LATER | _KEPT | _POISON, b"%x\r\n%s\r\n" % (size, film)),
        ("of no number", _ANY, b"hello\r\n" + film),
        ("below 0", _ANY, b"-5\r\n" + film),
        ("of 2^64", _ANY | _TOO_LARGE, b"ffffffffffffffff\r\n" + film),
        ("cut", _LATER | _POISON, b"%x\r\n%s" % (size, film[: size // 2])),
        ("with a line of 300 kB", _KEPT | _ANY, b"%x;%s\r\n%s\r\n0\r\n\r\n" % (size, b"x" * 300_000, film)),
    ):
        yield f"length/chunks {name}", allowed, raw(chunked, body)
    both = head_bytes(headers=[*_VIDEO, ("Transfer-Encoding", "chunked")], length=7)
    yield "length/chunks and a length", _KEPT | _ANY, raw(both, b"%x\r\n%s\r\n0\r\n\r\n" % (size, film))
    yield "length/more than is allowed", _TOO_LARGE, raw(sized(1 << 40), film)


def _encodings(film: bytes) -> Iterator[_Row]:
    def packed(kind: str, headers: Headers, body: bytes) -> Answer:
        return respond(body, "", headers=[*headers, ("Content-Encoding", kind)])

    yield "encoding/a packed video", _KEPT | _ANY, packed("gzip", _VIDEO, gzip.compress(film, mtime=0))
    yield "encoding/a cut packed page", _ANY, packed("gzip", _PAGE, gzip.compress(b"<html>" * 9_999, mtime=0)[:99])
    yield "encoding/not packed at all", _ANY, packed("gzip", _VIDEO, film)
    yield "encoding/deflated noise", _ANY, packed("deflate", _PAGE, bytes(range(256)) * 20)
    yield "encoding/Brotli noise", _ANY, packed("br", _PAGE, bytes(range(256)) * 20)
    yield "encoding/of no name", _KEPT | _ANY, packed("hostile", _VIDEO, film)
    yield "encoding/packed five times", _KEPT | _ANY, packed("gzip, gzip, gzip, gzip, gzip", _VIDEO, film)
    for kind, headers in (("a video", _VIDEO), ("a page", _PAGE)):
        bomb = [*headers, ("Content-Encoding", "gzip")]
        yield f"encoding/{kind} that unpacks to 1 GB", _ANY, raw(head_bytes(headers=bomb), _bomb())


def _types(film: bytes) -> Iterator[_Row]:
    page = b"<!DOCTYPE html><html><title>x</title><body>hello</body></html>"
    for kind in (
        "text/html",
        "application/json",
        "image/png",
        "audio/mpeg",
        "",
        "video/mp4; charset=\0",
        "application/xml",
    ):
        yield f"type/a video as {kind or 'nothing'!r}", _KEPT | _ANY, respond(film, kind)
    for kind in ("application/vnd.apple.mpegurl", "application/dash+xml", "video/" + "x" * 9_000, "x", "////"):
        yield f"type/a video as {kind[:20]!r}", _KEPT | _ANY, respond(film, kind)
    yield "type/a page as a video", frozenset({"poison web_page"}), respond(page)
    yield "type/a page as it is", _GONE, respond(page, "text/html")
    yield "type/a page in no known letters", _ANY, respond(page, "text/html; charset=hostile-42")
    yield "type/a page in UTF-7", _ANY, respond(b"+ADw-html+AD4-", "text/html; charset=utf-7")
    yield "type/a page of an archive", _ANY, respond(zlib.compress(page), "text/html; charset=zlib")
    yield "type/nothing as a video", frozenset({"poison empty"}), respond(b"")
    yield "type/nothing as a page", _ANY, respond(b"", "text/html")


def _endless(film: bytes) -> Iterator[_Row]:
    page = b"<!DOCTYPE html><html><body>" + b"<p>hello</p>" * 99
    yield "endless/a video", _TOO_LARGE, endless(head_bytes(headers=_VIDEO))
    yield (
        "endless/a video in chunks",
        _TOO_LARGE,
        endless(
            head_bytes(headers=[*_VIDEO, ("Transfer-Encoding", "chunked")]), b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        ),
    )
    yield "endless/a page", _ANY, endless(head_bytes(headers=_PAGE), page * 30)
    yield "endless/a head", _ANY, endless(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n" * 3_000)
    yield "endless/interim answers", _ANY, endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 3_000)
    yield "endless/one line", _ANY, endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * (1 << 16))
    yield "slow/a byte a second", _LATER, drip(head_bytes(headers=_VIDEO, length=len(film)), film, 0.7)
    yield "slow/a page", _LATER, drip(head_bytes(headers=_PAGE), page, 0.7)
    yield "slow/a head", _LATER, drip(b"", head_bytes(headers=_VIDEO), 0.7)
    yield (
        "slow/chunks",
        _LATER,
        drip(head_bytes(headers=[*_VIDEO, ("Transfer-Encoding", "chunked")]), b"1\r\nx\r\n" * 99, 0.7, 6),
    )
    yield "slow/silent at once", _LATER, stall(b"")
    yield "slow/silent after its head", _LATER, stall(head_bytes(headers=_VIDEO, length=len(film)), film)
    yield "slow/silent in the middle", _LATER, stall(head_bytes(headers=_VIDEO, length=len(film)) + film[:999])
    yield "slow/silent in a page", _LATER, stall(head_bytes(headers=_PAGE, length=99_999) + page)


def _bomb() -> bytes:
    """A gzip body of a megabyte that unpacks to a gigabyte of zeros, and ends before its check sum."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)  # which starts from nothing
    return head + again * 999
