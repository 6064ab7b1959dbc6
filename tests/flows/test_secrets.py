"""Secrets of the machine and of lists are used, and stand in nothing that a run leaves behind."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from storage.root import open_root
from storage.versions import latest_version
from tests.stored_text import stored_text

SECRET = "hunter7"  # part of all that are planted
AUTH = f"me:{SECRET}-auth"
MARKS = (SECRET, *(base64.b64encode(text.encode()).decode() for text in (AUTH, f"me:{SECRET}-proxy")))


class _Site(BaseHTTPRequestHandler):
    """Serves a clip, refuses another in words that repeat what it was sent; a proxy to itself."""

    clip: bytes
    requests: list[str]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.requests.append(f"{self.path} {self.headers.get('Proxy-Authorization', '')}")
        data = self.clip if path == "/clip.mp4" else f"{self.path} is forbidden".encode()
        self.send_response(
            200 if path == "/clip.mp4" else 403, None if path == "/clip.mp4" else f"{self.path} forbidden"
        )
        self.send_header("Content-Type", "video/mp4" if path == "/clip.mp4" else "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site(clips: Path) -> Iterator[tuple[str, list[str]]]:
    """host:port of a site that is a proxy too, and the requests that it got."""
    requests: list[str] = []
    clip = min(clips.glob("*.mp4")).read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Site", (_Site,), {"clip": clip, "requests": requests}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", requests
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_run_leaves_no_secret_behind(
    tritrack: Callable[..., subprocess.CompletedProcess[str]],
    site: tuple[str, list[str]],
    s3_root_url: Callable[[], str],
    prefect_home: Path,
    tmp_path: Path,
) -> None:
    """One source is fetched with all of them, one is refused; then a run whose store is out of reach."""
    host, requests = site
    signed = f"X-Amz-Signature={SECRET}-signature&access_token={SECRET}-token&v=1"
    sources = tmp_path / "list.txt"
    sources.write_text("".join(f"http://me:{SECRET}-url@{host}/{name}.mp4?{signed}\n" for name in ("clip", "other")))
    root = s3_root_url()
    planted = {
        "AWS_SECRET_ACCESS_KEY": f"{SECRET}-aws",
        "TRITRACK_PROXY": f"http://me:{SECRET}-proxy@{host}",
        "PREFECT_API_AUTH_STRING": AUTH,
        "TRITRACK_TRACEBACK": "1",
        "NO_PROXY": "",  # it would keep a site of this machine from the proxy
    }
    settings = ["--set", 'download.allow_hosts=["127.0.0.1"]', "--set", "download.min_kept_share=0.9", "--verbose"]
    command = ["download", "--root", root, "--sources", str(sources), *settings]
    below_floor = tritrack(*command, **planted)
    assert below_floor.returncode == 1, below_floor.stderr
    assert any(f"{SECRET}-signature" in request and "Basic " in request for request in requests), "all were used"
    lost = tritrack(*command, **planted | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "TRITRACK_RETRY_SECONDS": "0"})
    assert lost.returncode not in (0, 2), lost.stderr

    left = {
        f"{name} of {done.args[3]}": getattr(done, name)
        for done in (below_floor, lost)
        for name in ("stdout", "stderr")
    }
    left |= {str(path): stored_text(path.read_bytes()) for path in prefect_home.rglob("*") if path.is_file()}
    assert any(path.endswith(".db") and len(text) > 1000 for path, text in left.items())
    opened = open_root(root)
    assert latest_version(opened, "default").sources
    stored = {path: stored_text(opened.read_bytes(path)) for path in (entry.path for entry in opened.walk(""))}
    assert len(stored) > 3
    # A later run without a list fetches from what the data set knows: its table of sources, and nothing else, is whole.
    whole = {path for path in stored if path.startswith("datasets/") and "/sources-" in path}
    assert whole
    left |= {path: text for path, text in stored.items() if path not in whole}
    assert [place for place, text in left.items() if any(mark in text for mark in MARKS)] == []
    for path in whole:
        rows = pq.read_table(io.BytesIO(opened.read_bytes(path))).to_pylist()
        for row in rows:
            assert SECRET in row.pop("location")
        assert SECRET not in json.dumps(rows, default=str)
