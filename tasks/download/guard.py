"""What stands between yt-dlp and the network: public hosts only, bounded pages, and what a host asks for.

Everything that yt-dlp requests, redirects and fragments included, goes through one guarded handler.
"""

from __future__ import annotations

import email.utils
import functools
import http.client
import socket
import time
import urllib.request
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import yt_dlp
from yt_dlp.extractor import gen_extractor_classes
from yt_dlp.extractor.common import UnsupportedURLIE
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking._helper import _socket_connect, create_connection, make_ssl_context
from yt_dlp.networking._urllib import HTTPHandler, ProxyHandler, RedirectHandler, UrllibRH
from yt_dlp.networking.exceptions import RequestError

from tasks.download.addresses import require_public, require_public_address
from tasks.download.scratch import Validators
from tasks.records import Dropped

# A page, playlist or manifest is read whole; the largest known are YouTube's player scripts, of 3 MB.
_PAGE_BYTES = 64_000_000
_ASKING = frozenset({429, 503})  # RFC 6585 and RFC 9110: the statuses whose Retry-After counts


class Guard:
    """Refuses requests to private hosts and remembers why, since yt-dlp wraps what a handler raises.

    `retry_after`: seconds for which a host asked to be left alone. `validators`: of what an earlier attempt has
    left; the rest of a body is asked for under their condition alone.
    """

    def __init__(self, allow_hosts: Collection[str], validators: Validators) -> None:
        self.refusal: Dropped | None = None
        self.retry_after = 0.0
        self._validators = validators
        self._allow_hosts = allow_hosts
        self._proxies: set[str] = set()

    def trust_proxies(self, proxies: Mapping[str, str | None]) -> None:
        """The user's own proxies may lie on a private address."""
        self._proxies = {host for url in proxies.values() if url and (host := urlsplit(url).hostname)}

    def check(self, url: str) -> None:
        """Refuse a request before anything of it is sent, its name's lookup included."""
        try:
            require_public(url, self._allow_hosts)
        except Dropped as refusal:
            self.refusal = refusal
            raise RequestError(str(refusal)) from refusal

    def connect(self, address: tuple[str, int], timeout: Any, source_address: Any = None) -> socket.socket:
        """Connect to a name, and look at the very address that is connected to: what it was before may not hold."""

        def connect_checked(found: tuple[Any, ...], timeout: Any, source: Any) -> socket.socket:
            host, port = address
            if host not in self._proxies:
                try:
                    require_public_address(host, port, str(found[4][0]), self._allow_hosts)
                except Dropped as refusal:
                    self.refusal = refusal
                    raise OSError(str(refusal)) from refusal
            connected: socket.socket = _socket_connect(found, timeout, source)
            return connected

        made: socket.socket = create_connection(address, timeout, source_address, _create_socket_func=connect_checked)
        return made

    def condition(self, request: urllib.request.Request) -> None:
        """Ask for the rest of a body only if it is still the one that the first part was of (RFC 9110, If-Range)."""
        span = request.get_header("Range") or ""
        if span and not span.startswith("bytes=0-") and (validator := self._validators.get(request.full_url)):
            request.add_header("If-Range", validator)

    def note(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Keep what a response's head says of its host and of the version of its body."""
        if status in _ASKING:
            self.retry_after = max(self.retry_after, _seconds(headers.get("Retry-After", "")))
        tag = headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        if status in (200, 206) and validator:
            self._validators.keep(url, validator)


class GuardedDownloader(yt_dlp.YoutubeDL):  # type: ignore[misc]  # yt-dlp has no types
    """yt-dlp with one request handler, whose requests the guard sees; no other way out of the process."""

    def __init__(self, options: dict[str, Any], guard: Guard) -> None:
        self._guard = guard
        super().__init__(options)

    def add_default_info_extractors(self) -> None:
        """The 1,750 classes, once a process: to list them takes more CPU time than to fetch a small video."""
        for extractor in extractors():
            self._ies[extractor.ie_key()] = extractor
        self.add_info_extractor(UnsupportedURLIE())

    def render_formats_table(self, info: Any) -> None:
        """Nobody reads it."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        guard = self._guard
        guard.trust_proxies(self.proxies)

        class GuardedUrllibRH(UrllibRH):  # type: ignore[misc]
            _SUPPORTED_URL_SCHEMES = ("http", "https", "data")
            _kept: _Kept | None = None

            def _make_sslcontext(self, legacy_ssl_support: Any = None) -> Any:
                return ssl_context(legacy_support=bool(legacy_ssl_support))

            def _send(self, request: Any) -> Any:
                """Send a request, or hand out the answer to the very same one before it, where nothing was read of it.

                For a link to a file yt-dlp looks at the answer's headers, leaves its body alone, and asks again.
                """
                asked = (request.url, request.method, request.data, sorted(self._get_headers(request).items()))
                kept, self._kept = self._kept, None
                if kept is not None and kept.asked == asked and not kept.is_read:
                    return kept.response
                if kept is not None and not kept.is_read:
                    kept.response.close()
                response = super()._send(request)
                if request.method == "GET":
                    self._kept = _Kept(asked, response)
                return response

            def _prepare_headers(self, request: Any, headers: Any) -> None:
                headers.setdefault("Accept-Encoding", "gzip, deflate")  # what can be inflated step by step

            def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
                """As yt-dlp's own, with the guarded handler, and without FTP and files."""
                context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
                opener = urllib.request.OpenerDirector()
                for handler in (
                    ProxyHandler(proxies),
                    _GuardedHTTPHandler(guard, context, self.source_address),
                    urllib.request.HTTPCookieProcessor(cookiejar),
                    urllib.request.DataHandler(),
                    urllib.request.UnknownHandler(),
                    urllib.request.HTTPDefaultErrorHandler(),
                    urllib.request.HTTPErrorProcessor(),
                    RedirectHandler(),
                ):
                    opener.add_handler(handler)
                opener.addheaders = []
                return opener

        return super().build_request_director([GuardedUrllibRH])


@functools.cache
def extractors() -> tuple[Any, ...]:
    """yt-dlp's own extractors, in the order of its choice; from the lock alone, since plugins are code from outside."""
    plugin_dirs.value = []
    return tuple(extractor for extractor in gen_extractor_classes() if extractor._ENABLED)


@functools.cache
def ssl_context(legacy_support: bool) -> Any:
    """One a process: it reads the certificates of all authorities."""
    return make_ssl_context(legacy_support=legacy_support, use_certifi=True)


class _Kept:
    """An answer whose body may still be asked for: `is_read` once something has read of it."""

    def __init__(self, asked: object, response: Any) -> None:
        self.asked, self.response, self.is_read = asked, response, False
        read = response.read

        def noted(amount: int | None = None) -> Any:
            self.is_read = True
            return read(amount)

        response.read = noted


class _GuardedHTTPHandler(HTTPHandler):  # type: ignore[misc]
    """Sees every request before it is sent, the address that it goes to, and every response before it is read."""

    def __init__(self, guard: Guard, context: Any, source_address: Any) -> None:
        super().__init__(context=context, source_address=source_address)
        self._guard = guard

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        self._guard.check(request.full_url)
        self._guard.condition(request)
        checked: urllib.request.Request = super().http_request(request)
        return checked

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        self._guard.note(request.full_url, response.status, response.headers)
        response.read = _bounded(response.read)
        return super().http_response(request, response)

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._connection(http.client.HTTPConnection, request), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._connection(http.client.HTTPSConnection, request), request, context=self._context)

    https_request = http_request
    https_response = http_response

    @staticmethod
    def gz(data: bytes) -> bytes:
        return _inflate(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        try:
            return _inflate(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _inflate(data, zlib.MAX_WBITS)

    @staticmethod
    def brotli(data: bytes) -> bytes:
        raise OSError("brotli, which was not asked for")

    def _connection(self, kind: type, request: urllib.request.Request) -> Callable[..., Any]:
        made = functools.partial(_connection_of, self._make_conn_class(kind, request), self._guard)
        return functools.partial(made, self._source_address)


def _connection_of(kind: Any, guard: Guard, source_address: str | None, *arguments: Any, **named: Any) -> Any:
    connection = kind(*arguments, **named)
    connection._create_connection = guard.connect
    if source_address is not None:
        connection.source_address = (source_address, 0)
    return connection


def _bounded(read: Callable[..., bytes]) -> Callable[..., bytes]:
    """A response's `read` that refuses to take a whole body of more than a page's size into memory."""

    def bounded(amount: int | None = None) -> bytes:
        if amount is not None and amount >= 0:
            return read(amount)
        data = read(_PAGE_BYTES + 1)
        if len(data) > _PAGE_BYTES:
            raise OSError(f"page of more than {_PAGE_BYTES} bytes")
        return data

    return bounded


def _inflate(data: bytes, window_bits: int) -> bytes:
    """Decompressed bytes, never more than a page's size: a small body can inflate a thousandfold."""
    if not data:
        return data
    inflater = zlib.decompressobj(window_bits)
    inflated = inflater.decompress(data, _PAGE_BYTES + 1)
    if len(inflated) > _PAGE_BYTES:
        raise OSError(f"page of more than {_PAGE_BYTES} bytes")
    return inflated


def _seconds(text: str) -> float:
    """A Retry-After header: seconds, or a date (RFC 9110, 10.2.3); 0 where it is neither."""
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
