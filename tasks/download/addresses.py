"""Which hosts may be asked: public ones, and those that the configuration names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from tasks.download.redaction import redact
from tasks.records import Dropped

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SCHEMES = frozenset({"http", "https"})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def require_public(url: str, allow_hosts: Collection[str]) -> None:
    """Raise Dropped (permanent) for a URL that is not http(s), or whose host is not on the public internet.

    Loopback, private, link-local (cloud metadata) and reserved addresses are refused, however they are
    written, so that a list from outside cannot read the machine's own network. A name that does not resolve
    passes: the request itself then fails in the tool's own words. The connection looks again, at the address that
    it goes to (`require_public_address`).
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Dropped("permanent", "bad_url", f"{redact(url)!r} is no URL ({error})") from error
    if parts.scheme.lower() not in _SCHEMES:
        raise Dropped(
            "permanent", "unsupported_scheme", f"{redact(url)!r} is not fetched; give an http(s) URL or a path"
        )
    if not host:
        raise Dropped("permanent", "bad_url", f"{redact(url)!r} names no host")
    for address in [] if _is_allowed(host, port, allow_hosts) else _addresses(host):
        require_public_address(host, port, str(address), allow_hosts)


def require_public_address(host: str, port: int | None, address: str, allow_hosts: Collection[str]) -> None:
    """Raise Dropped (permanent) where a host's address is not on the public internet and nobody allowed the host."""
    if not _is_public(ipaddress.ip_address(address.partition("%")[0])) and not _is_allowed(host, port, allow_hosts):
        raise Dropped(
            "permanent",
            "private_address",
            f"{host} is at {address}, which is not on the public internet; name the host in allow_hosts to ask it",
            ("allow_hosts",),
        )


def _is_allowed(host: str, port: int | None, allow_hosts: Collection[str]) -> bool:
    return host in allow_hosts or f"{host}:{port}" in allow_hosts


def _addresses(host: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return _is_public(embedded)
    return address.is_global and not address.is_multicast
