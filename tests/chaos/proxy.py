"""An HTTP proxy that passes requests on to an S3 server, and disturbs some of them."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "date", "server"})
_READ_FAULTS = ("error_500", "error_503", "reset_before", "reset_in_body", "reset_in_body", "slow_body")
_WRITE_FAULTS = ("error_500", "error_503", "reset_before", "lost_response", "lost_response")
_HEAD_FAULTS = ("error_500", "error_503", "reset_before")
_ERRORS = {"error_500": (500, "InternalError"), "error_503": (503, "SlowDown")}
_SLOW_SECONDS, _SLOW_PARTS = 0.2, 4


class FaultProxy:
    """A proxy in front of `upstream` (http://host:port) on a free port of the loopback; a context manager.

    `rate` is the share of requests that meet a fault, `seed` decides which: request number n of a proxy meets
    the same fault in every run. Both may be changed between requests. `counts` holds the faults by kind.
    """

    def __init__(self, upstream: str, seed: str, rate: float) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None, "an address with a host"
        assert parts.port is not None, "an address with a port"
        self.upstream = (parts.hostname, parts.port)
        self.seed = seed
        self.rate = rate
        self.counts: Counter[str] = Counter()
        self.requests = 0
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def draw(self, method: str, is_conditional: bool) -> str:
        """The fault that the next request meets, counted; empty for none.

        Counted by itself: the lost response to a conditional create, whose retry finds its own object.
        """
        with self._lock:
            self.requests += 1
            draws = random.Random(f"{self.seed}/{self.requests}")
            if draws.random() >= self.rate:
                return ""
            kinds = {"GET": _READ_FAULTS, "HEAD": _HEAD_FAULTS}.get(method, _WRITE_FAULTS)
            fault = draws.choice(kinds)
            self.counts["lost_create" if fault == "lost_response" and is_conditional else fault] += 1
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away (killed, most likely) is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _pass_on(self) -> None:
        body = self._read_body()
        fault = self.server.proxy.draw(self.command, "If-None-Match" in self.headers)
        if fault in _ERRORS:
            self._refuse(*_ERRORS[fault])
        elif fault == "reset_before":
            self._reset()
        else:
            self._answer(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _answer(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=self.timeout)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                    connection.putheader(name, value)  # Host too, which the client signed
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if fault == "lost_response":
            self._reset()
            return
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if length is not None and response.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self._send(data, fault)

    def _send(self, data: bytes, fault: str) -> None:
        if fault == "reset_in_body":
            self.wfile.write(data[: len(data) // 2])
            self._reset()
        elif fault == "slow_body":
            size = max(1, -(-len(data) // _SLOW_PARTS))
            for start in range(0, len(data), size):
                time.sleep(_SLOW_SECONDS / _SLOW_PARTS)
                self.wfile.write(data[start : start + size])
        else:
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        page = f"<Error><Code>{code}</Code><Message>chaos</Message></Error>".encode()
        self.send_response_only(status)
        if status == 503:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)

    def _reset(self) -> None:
        """Close with RST rather than FIN: what a crashed peer or a middlebox looks like."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            blocks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                blocks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return b"".join(blocks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet: `counts` say what happened."""
