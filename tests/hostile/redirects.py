"""Redirects: loops, chains without an end, and leads to places that must not be asked."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.answers import by_name, computed, raw, redirect, respond
from tests.hostile.clips import clip
from tests.hostile.records import Place, Specimen
from tests.hostile.server import Answer, Visit

_KEPT = frozenset({"kept"})
_REFUSED = frozenset({"permanent bad_redirect", "permanent unsupported_scheme", "permanent bad_url"})
_PRIVATE = frozenset({"permanent private_address"})
_ANY = frozenset({"permanent", "transient", "poison"})


def redirects(place: Place) -> Iterator[Specimen]:
    port = place.trap.rpartition(":")[2]
    other = place.neighbour.rpartition(":")[2]
    for name, target in (
        ("another address of this machine", f"{place.trap}/clip.mp4"),
        ("another port", f"{place.neighbour}/clip.mp4"),
        ("this machine by name", f"http://localhost:{other}/clip.mp4"),
        ("this machine in IPv6", f"http://[::1]:{other}/clip.mp4"),
        ("this machine as IPv4 in IPv6", f"http://[::ffff:127.0.0.2]:{port}/clip.mp4"),
        ("this machine as a number", f"http://2130706434:{port}/clip.mp4"),
        ("this machine in hexadecimal", f"http://0x7f000002:{port}/clip.mp4"),
        ("this machine in octal", f"http://0177.0.0.2:{port}/clip.mp4"),
        ("this machine in short", f"http://127.2:{port}/clip.mp4"),
        ("the address of all", f"http://0.0.0.0:{other}/clip.mp4"),
        ("metadata of a cloud", "http://169.254.169.254/latest/meta-data/"),
        ("metadata of a cloud in IPv6", "http://[fd00:ec2::254]/latest/meta-data/"),
        ("a private network", "http://10.0.0.1/clip.mp4"),
        ("a private network with a user", "http://example.com@192.168.0.1/clip.mp4"),
        ("the trap with a user", place.trap.replace("//", "//127.0.0.1:80@") + "/clip.mp4"),
        ("the trap without a scheme", place.trap.removeprefix("http:") + "/clip.mp4"),
        ("the trap with a backslash", place.trap.replace("//", "/\\") + "/clip.mp4"),
        ("the trap in capitals", place.trap.upper() + "/clip.mp4"),
    ):
        for status in ("302 Found", "307 Temporary Redirect")[: 1 if "trap" in name else 2]:
            allowed = _PRIVATE | (_ANY if "backslash" in name else frozenset())
            yield Specimen(f"redirect/to {name}, {status[:3]}", allowed, answer=redirect(target, status))
    for name, target in (
        ("a file", f"file://{place.secret}"),
        ("a file of this host", "file://localhost/etc/passwd"),
        ("FTP", f"ftp://127.0.0.2:{port}/clip.mp4"),
        ("data", "data:video/mp4;base64,AAAA"),
        ("a script", "javascript:alert(1)"),
        ("Gopher", f"gopher://127.0.0.2:{port}/_GET"),
        ("a dictionary", f"dict://127.0.0.2:{port}/x"),
        ("a store", "s3://bucket/clip.mp4"),
        ("no scheme that there is", "hostile:x"),
    ):
        yield Specimen(f"redirect/to {name}", _REFUSED | _ANY, answer=redirect(target))
    for name, target in (
        ("nowhere", ""),
        ("a broken address", "http://[::1/x"),
        ("a port beyond ports", "http://127.0.0.1:99999/x"),
        ("a host of 70,000 letters", f"http://{'x' * 70_000}.example/"),
        ("a path of 300 kB", f"{place.site}/{'x' * 300_000}"),
        ("letters that are none", "http://ex\xadample\xff/"),
        ("an end of line", f"{place.site}/x\r\nX-Injected: 1"),
    ):
        yield Specimen(f"redirect/to {name}", _ANY, answer=redirect(target))
    yield from _loops()


def _loops() -> Iterator[Specimen]:
    film = respond(clip("mp4", "mpeg4"))
    yield Specimen("redirect/to itself", _ANY, answer=redirect("?"))
    yield Specimen(
        "redirect/two to each other", _ANY, answer=by_name({"a": redirect("b"), "b": redirect("a")}, redirect("a"))
    )
    yield Specimen("redirect/without an end", _ANY, answer=computed(_further))
    yield Specimen("redirect/with a page before it", _ANY, answer=raw(b"HTTP/1.1 302 Found\r\n\r\n<html>hello</html>"))
    chain: dict[str, Answer] = {f"{each}": redirect(f"{each + 1}") for each in range(3)} | {"3": film}
    yield Specimen("redirect/three times, to a video", _KEPT, answer=by_name(chain, redirect("0")))
    for status in ("301 Moved Permanently", "303 See Other", "308 Permanent Redirect"):
        hop = by_name({"video": film}, redirect("video", status))
        yield Specimen(f"redirect/once, {status[:3]}, to a video", _KEPT, answer=hop)
    yield Specimen("redirect/with 200", _ANY | _KEPT, answer=by_name({"video": film}, redirect("video", "200 OK")))
    yield Specimen("redirect/with 399", _ANY | _KEPT, answer=by_name({"video": film}, redirect("video", "399 What")))
    twice = raw(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nLocation: video\r\nContent-Length: 0\r\n\r\n")
    yield Specimen("redirect/to two places", _ANY | _KEPT, answer=by_name({"video": film}, twice))


def _further(visit: Visit) -> Answer:
    number = int(visit.name) if visit.name.isdecimal() else 0
    return redirect(f"{number + 1}")
