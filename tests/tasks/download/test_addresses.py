"""Which hosts may be asked."""

from __future__ import annotations

import socket

import pytest

from tasks.download.addresses import require_public
from tasks.records import Dropped


def refusal(url: str, *allow_hosts: str) -> tuple[str, str] | None:
    """The class and reason that a URL is refused for."""
    try:
        require_public(url, allow_hosts)
    except Dropped as outcome:
        return outcome.kind, outcome.reason
    return None


PRIVATE = ("permanent", "private_address")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "localhost", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "2130706433", "0x7f000001", "127.1", "[::1]", "[::]",
        "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_private_hosts_are_refused_however_written(host: str) -> None:
    assert refusal(f"http://{host}/x") == PRIVATE
    assert refusal(f"https://user:pw@{host}:8080/x") == PRIVATE


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "[64:ff9b::808:808]"])
def test_public_hosts_may_be_asked(host: str) -> None:
    assert refusal(f"http://{host}/x") is None


def test_a_name_counts_by_every_address_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        addresses = {"mixed.example": ["8.8.8.8", "10.0.0.1"], "public.example": ["8.8.8.8"]}
        if host not in addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert refusal("http://mixed.example/") == PRIVATE
    assert refusal("http://public.example/") is None
    assert refusal("http://gone.example/") is None  # the request says so in its own words


def test_named_hosts_may_be_asked_by_name_or_port() -> None:
    assert refusal("http://127.0.0.1:8000/x", "127.0.0.1") is None
    assert refusal("http://127.0.0.1:8000/x", "127.0.0.1:8000") is None
    assert refusal("http://127.0.0.1:8001/x", "127.0.0.1:8000") == PRIVATE
    assert refusal("http://localhost:8000/x", "127.0.0.1") == PRIVATE
    assert refusal("http://LOCALHOST/x", "localhost") is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "unsupported_scheme"),
        ("ftp://8.8.8.8/x", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
        ("ytsearch5:cats", "unsupported_scheme"),
        ("http:///x", "bad_url"),
        ("http://[::1/x", "bad_url"),
        ("http://8.8.8.8:99999/x", "bad_url"),
    ],
)
def test_what_is_no_web_address_is_refused(url: str, reason: str) -> None:
    assert refusal(url) == ("permanent", reason)
