"""Answers of the hostile server: builders of what it sends, whole, never ending, or broken off."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping, Sequence

from tests.hostile.server import Answer, Visit

_ENDLESS_BYTES = 400_000_000  # of one answer, so that a client that takes it all comes to an end too
_BLOCK = bytes(1 << 16)

Headers = Sequence[tuple[str, str]]


def head_bytes(status: str = "200 OK", headers: Headers = (), length: int | None = None) -> bytes:
    """A response head; `length` becomes its Content-Length."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def respond(
    body: bytes | str = b"",
    kind: str = "video/mp4",
    status: str = "200 OK",
    headers: Headers = (),
    is_sized: bool = True,
) -> Answer:
    """A whole response."""
    data = body.encode() if isinstance(body, str) else body
    typed = [("Content-Type", kind), *headers] if kind else headers
    return raw(head_bytes(status, typed, len(data) if is_sized else None), data)


def raw(head: bytes, body: bytes = b"") -> Answer:
    """These very bytes."""

    def answer(visit: Visit) -> None:
        visit.send(head if visit.method == "HEAD" else head + body)

    return answer


def redirect(location: str, status: str = "302 Found") -> Answer:
    return respond(status=status, kind="", headers=[("Location", location)])


def endless(head: bytes, block: bytes = _BLOCK) -> Answer:
    """A head, and then the same block for ever."""

    def answer(visit: Visit) -> None:
        visit.send(head)
        sent = 0
        while visit.method != "HEAD" and visit.goes_on() and sent < _ENDLESS_BYTES:
            visit.send(block)
            sent += len(block)

    return answer


def drip(head: bytes, body: bytes, pause_seconds: float, step: int = 1) -> Answer:
    """A head at once, and a body of so many bytes a step: a slow-loris."""

    def answer(visit: Visit) -> None:
        visit.send(head)
        for start in range(0, len(body), step):
            if not visit.goes_on(pause_seconds):
                return
            visit.send(body[start : start + step])

    return answer


def stall(data: bytes, then: bytes = b"", seconds: float = 20.0) -> Answer:
    """Some bytes, then nothing for longer than anyone waits, then the rest."""

    def answer(visit: Visit) -> None:
        visit.send(data)
        if visit.goes_on(seconds):
            visit.send(then)

    return answer


def reset(data: bytes = b"") -> Answer:
    """Some bytes, and a connection that is reset."""

    def answer(visit: Visit) -> None:
        visit.send(data)
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            visit.connection.close()

    return answer


def by_name(answers: Mapping[str, Answer], other: Answer) -> Answer:
    """One answer for each last part of the path, such as a playlist and its segments."""

    def answer(visit: Visit) -> None:
        answers.get(visit.name, other)(visit)

    return answer


def computed(make: Callable[[Visit], Answer]) -> Answer:
    """An answer that depends on what was asked."""

    def answer(visit: Visit) -> None:
        make(visit)(visit)

    return answer
