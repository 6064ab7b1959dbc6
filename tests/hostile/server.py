"""An HTTP server on raw sockets: what a hostile site sends is up to each answer, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_HEAD_BYTES = 65_536
_PATIENCE_SECONDS = 30.0


class Visit:
    """One request and the connection that it came over; answers write to it what they like."""

    def __init__(self, connection: socket.socket, method: str, target: str, stopping: threading.Event) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self._stopping = stopping

    @property
    def name(self) -> str:
        """The last part of the path, decoded."""
        return unquote(urlsplit(self.target).path).rpartition("/")[2]

    def send(self, data: bytes) -> None:
        """Raises ConnectionError or TimeoutError where the client has left or reads no more."""
        self.connection.sendall(data)

    def goes_on(self, pause_seconds: float = 0.0) -> bool:
        """Whether the server still runs, after so long a pause."""
        return not self._stopping.wait(pause_seconds) if pause_seconds else not self._stopping.is_set()


Answer = Callable[[Visit], None]


@dataclass(frozen=True)
class Site:
    """A running server: its root URL without a slash, and the targets that were asked for so far."""

    url: str
    asked: list[str]


@contextlib.contextmanager
def serve(answers: Mapping[str, Answer], address: str = "127.0.0.1") -> Iterator[Site]:
    """Serve on a free port of an address while the block runs: the first part of a path names the answer.

    What has no name gets the answer "", or a 404 where there is none. Every connection is for one request.
    """
    listener = socket.create_server((address, 0), backlog=128)
    site = Site(f"http://{address}:{listener.getsockname()[1]}", [])
    stopping = threading.Event()
    visitors: list[tuple[socket.socket, threading.Thread]] = []

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            visitor = threading.Thread(target=_attend, args=(connection, answers, site.asked, stopping), daemon=True)
            visitor.start()
            visitors.append((connection, visitor))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        stopping.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()
        thread.join()
        for connection, visitor in visitors:
            with contextlib.suppress(OSError):  # closed
                connection.shutdown(socket.SHUT_RDWR)
            visitor.join()


def _attend(
    connection: socket.socket, answers: Mapping[str, Answer], asked: list[str], stopping: threading.Event
) -> None:
    connection.settimeout(_PATIENCE_SECONDS)
    with connection, contextlib.suppress(OSError):
        head = _read_head(connection)
        method, _, rest = head.partition(" ")
        target = rest.partition(" ")[0]
        asked.append(target)
        name = target.lstrip("/").partition("/")[0].partition("?")[0]
        answer = answers.get(name) or answers.get("", _not_found)
        answer(Visit(connection, method, target, stopping))
        connection.shutdown(socket.SHUT_WR)  # an orderly end: a close with unread bytes would reset the connection
        connection.settimeout(1.0)
        while connection.recv(_HEAD_BYTES):
            pass


def _read_head(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD_BYTES and (block := connection.recv(_HEAD_BYTES)):
        data += block
    return data.decode("latin-1")


def _not_found(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
