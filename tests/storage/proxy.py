"""A proxy in front of the tests' S3 server that writes down every request and fails those that a test picks."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked for; `query` keeps empty values (`uploads`)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def is_listing(self) -> bool:
        return self.query.get("list-type") == "2" or (self.method == "GET" and self.path.count("/") < 2)


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    `kind` is an HTTP status; "reset": the connection breaks and the store sees nothing; "lost": the store
    does it and the answer is lost; "cut": the answer breaks off in its middle; "silent": no answer.
    """

    kind: int | str
    times: int = 1
    matches: Callable[[Request], bool] = lambda request: True
    headers: dict[str, str] = field(default_factory=dict)
    code: str = "InternalError"


@dataclass
class StoreProxy:
    """A running proxy: its URL, the requests so far, and the faults still to come."""

    url: str
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def take(self, request: Request) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and fault.matches(request):
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def store_proxy(endpoint: str) -> Iterator[StoreProxy]:
    """A proxy to the S3 server at `endpoint`, on a free port of this machine."""
    proxy = StoreProxy("")
    handler = type("Handler", (_Handler,), {"proxy": proxy, "target": urlsplit(endpoint).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: StoreProxy
    target: str

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        request = Request(
            self.command, parts.path, query, {name.lower(): value for name, value in self.headers.items()}
        )
        fault = self.proxy.take(request)
        if fault is None:
            self._answer(*self._forward(body))
        elif isinstance(fault.kind, int):
            words = f"<Error><Code>{fault.code}</Code><Message>as the test wants</Message></Error>".encode()
            self._answer(fault.kind, {"Content-Type": "application/xml", **fault.headers}, words)
        elif fault.kind == "silent":
            self.proxy.stopping.wait(30)
        elif fault.kind == "cut":
            self._answer(*self._forward(body), cut=True)
        else:
            if fault.kind == "lost":
                self._forward(body)
            self._reset()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=30)
        dropped = {"host", "connection", "expect", "transfer-encoding", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        headers |= {"Host": self.headers["Host"], "Content-Length": str(len(body))}
        try:
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" and not body else str(len(body))
        for name, value in headers.items():
            if not re.fullmatch("(?i)content-length|transfer-encoding|connection", name):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if cut:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._reset()
        elif self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        """Break the connection, so that the client sees a reset and no end of file."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.rfile = self.wfile = _Nothing()  # type: ignore[assignment]


class _Nothing:
    """Stands in for the streams of a connection that is gone."""

    closed = True

    def flush(self) -> None:
        pass

    close = flush
