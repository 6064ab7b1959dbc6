"""A loopback HTTP server for one folder, so that clips on this machine go through the real download path."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

_COPY_BYTES = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES: dict[str, str] = {
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
}


@contextlib.contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve the files of a folder on 127.0.0.1 while the block runs; yields the root URL, without a slash.

    Port 0 takes a free one. GET and HEAD with byte ranges; no listing, and nothing outside the folder.
    """
    handler = type("FolderHandler", (_Handler,), {"folder": folder.resolve(strict=True)})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    folder: ClassVar[Path]
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:  # the name is http.server's
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the fetching side logs what matters."""

    def _answer(self, with_body: bool) -> None:
        path = self._path()
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        start, stop = self._range(size)
        if start >= stop and size:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{size}")
            return
        partial = (start, stop) != (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES.get(path.suffix.lower(), "application/octet-stream"))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if with_body:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has seen enough
                self._send(path, start, stop)

    def _path(self) -> Path | None:
        """The file asked for, links followed, or None where it is missing or outside the folder."""
        name = unquote(urlsplit(self.path).path).lstrip("/")
        if "\0" in name:
            return None
        path = Path(os.path.realpath(self.folder / name))
        return path if path.is_relative_to(self.folder) and path.is_file() else None

    def _range(self, size: int) -> tuple[int, int]:
        """First byte and the byte after the last; the whole file where the header asks for nothing we know."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None or not any(match.groups()):
            return 0, size
        first, last = match.groups()
        if not first:  # the last so many bytes
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1 if last else size)

    def _refuse(self, status: HTTPStatus, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _send(self, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as reader:
            reader.seek(start)
            while start < stop and (block := reader.read(min(_COPY_BYTES, stop - start))):
                self.wfile.write(block)
                start += len(block)
