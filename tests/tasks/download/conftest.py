"""Small clips made with PyAV, and a server that misbehaves in every way that a fetch must survive."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest

from storage.root import Root, open_root

SERVED_TYPES = {".mp4": "video/mp4", ".wav": "audio/x-wav", ".html": "text/html"}


def write_clip(path: Path, num_frames: int = 12, seed: int = 0, **options: str) -> None:
    """An MPEG-4 clip of noise, 64 by 48 pixels, 25 frames a second."""
    source = np.random.default_rng(seed)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(num_frames):
            pixels = source.integers(0, 256, (48, 64, 3), dtype=np.uint8)  # (H, W, 3) uint8
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good.mp4, other.mp4, one.mp4 (one frame), and what is no video: cut.mp4, zero.mp4, page.mp4, sound.wav, ..."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "good.mp4")
    write_clip(folder / "other.mp4", seed=1)
    write_clip(folder / "one.mp4", num_frames=1)
    whole = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "page.mp4").write_text("<html><body>Sign up to watch</body></html>")
    (folder / "page.html").write_text("<html><body>hello</body></html>")
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(4000))
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return folder


class _Misbehaving(BaseHTTPRequestHandler):
    """`/file/<name>` serves a clip, `/status/<code>` and `/redirect?to=` an answer; the others break off or stall.

    `/tagged/<name>?tag=&cut=` serves ranges under an ETag, and of a whole body no more than `cut` bytes;
    `/busy?after=` answers 429 with a Retry-After; `/text/<name>` what a test has put under that name.
    """

    folder: Path
    requests: list[str]
    ranges: list[tuple[str, str]]
    texts: dict[str, str]
    stopping: threading.Event

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.requests.append(self.path)
        parts = urlsplit(self.path)
        _, action, *rest = parts.path.split("/")
        with contextlib.suppress(ConnectionError):
            if action == "file" and (self.folder / rest[0]).is_file():
                data = (self.folder / rest[0]).read_bytes()
                self._reply(200, data, SERVED_TYPES.get(Path(rest[0]).suffix, "application/octet-stream"))
            elif action == "tagged":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self._reply_tagged((self.folder / rest[0]).read_bytes(), query["tag"], int(query.get("cut", 0)))
            elif action == "busy":
                self._reply(429, retry_after=parse_qs(parts.query)["after"][0])
            elif action == "text":
                self._reply(200, self.texts[rest[0]].encode(), "application/xml")
            elif action == "status":
                self._reply(int(rest[0]))
            elif action == "redirect":
                self._reply(302, location=parse_qs(parts.query)["to"][0])
            elif action == "loop":
                self._reply(302, location="/loop")
            elif action == "slow.mp4":
                self.stopping.wait(20)
            elif action == "reset.mp4":
                linger = struct.pack("ii", 1, 0)  # close with a reset instead of an orderly end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            elif action == "short.mp4":
                self._reply(200, b"x" * 500, "video/mp4", length=100_000)
            elif action == "endless.mp4":
                self._reply(200, b"", "video/mp4", length=None)
                while self.command == "GET" and not self.stopping.is_set():
                    self.wfile.write(bytes(1 << 16))
            else:
                self._reply(404)

    def _reply_tagged(self, data: bytes, tag: str, cut: int) -> None:
        span, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        self.ranges.append((span, condition))
        start = int(span.removeprefix("bytes=").split("-")[0] or 0) if span else 0
        part = start > 0 and condition in ("", f'"{tag}"')
        self.send_response(206 if part else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        body = data[start:] if part else data
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut] if cut and not part else body)

    def _reply(
        self,
        status: int,
        data: bytes = b"",
        kind: str = "text/html",
        length: int | None = -1,
        location: str = "",
        retry_after: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(len(data) if length < 0 else length))
        if location:
            self.send_header("Location", location)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Site:
    """The running server: its root URL, the paths that were asked for, (Range, If-Range) of those under a tag, and
    the texts that it serves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.ranges: list[tuple[str, str]] = []
        self.texts: dict[str, str] = {}


@pytest.fixture
def site(clips: Path) -> Iterator[Site]:
    made, stopping = Site(""), threading.Event()
    shared = {"requests": made.requests, "ranges": made.ranges, "texts": made.texts, "stopping": stopping}
    handler = type("Handler", (_Misbehaving,), {"folder": clips, **shared})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))
