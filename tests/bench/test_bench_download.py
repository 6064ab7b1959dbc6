"""That what the download benchmark is made of does what its table says, over six clips."""

from __future__ import annotations

import hashlib
import io
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tasks.download.probe import probe_video
from tests.bench.clipserver import ClipServer, make_clips, serve_clips
from tests.bench.download import Row, measure, plan, table
from tests.bench.watching import run_watched

_CLIPS = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder, _CLIPS)
    return folder


@pytest.fixture(scope="module")
def server(clips: Path) -> Iterator[ClipServer]:
    with serve_clips(clips) as server:
        yield server


def test_clips_are_distinct_and_small_and_decode(clips: Path) -> None:
    paths = sorted(clips.iterdir())
    assert [path.name for path in paths] == [f"clip-{index:05}.mp4" for index in range(_CLIPS)]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == _CLIPS
    assert all(90_000 < path.stat().st_size < 320_000 for path in paths)
    assert all(probe_video(path).codec == "mpeg4" for path in paths)


def test_clips_of_one_body_differ(tmp_path: Path) -> None:
    names = make_clips(tmp_path, 12)
    assert len({(tmp_path / name).read_bytes() for name in names}) == 12


def test_the_server_counts_requests_and_serves_ranges(server: ClipServer, clips: Path) -> None:
    server.reset(latency_seconds=0.0)
    whole = (clips / "clip-00003.mp4").read_bytes()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(server.url("clip-00003.mp4"))
    with opener.open(request, timeout=30) as answer:
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.read() == whole
    request.add_header("Range", "bytes=100-")
    with opener.open(request, timeout=30) as answer:
        assert answer.status == 206
        assert answer.read() == whole[100:]
    with opener.open(urllib.request.Request(server.url("clip-00000.mp4"), method="HEAD"), timeout=30):
        pass
    traffic = server.traffic()
    assert (traffic.requests, traffic.connections, traffic.heads) == (3, 3, 1)
    server.reset(latency_seconds=0.0)
    assert server.traffic().requests == 0


def test_every_way_to_fetch_gets_all_clips(server: ClipServer, clips: Path) -> None:
    names = sorted(path.name for path in clips.iterdir())
    counts = [("ours", _CLIPS), ("plain", 2), ("limit", _CLIPS)]
    rows = {row.what: row for row in measure(server, names, 0.01, counts, repeats=1)}
    assert {what: row.clips for what, row in rows.items()} == dict(counts)
    assert rows["limit"].requests_per_item == 1
    for what, row in rows.items():
        assert row.requests_per_item >= 1
        assert row.connections_per_item > 0
        assert min(row.items_per_second, row.cpu_ms_per_item, row.peak_mb) > 0
        assert bool(row.again_per_second) == (what == "ours")


def test_a_program_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        run_watched([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_memory_is_that_of_the_whole_tree() -> None:
    """A child that holds 64 MB counts for the program that started it."""
    child = "import time; held = bytearray(b'x') * (64 << 20); time.sleep(2)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    assert run_watched([sys.executable, "-c", program]).peak_mb > 64


def test_plain_is_measured_on_fewer_clips_where_the_latency_is_long() -> None:
    every = ["ours", "plain", "limit"]
    assert plan(0.05, 500, 100, every) == [("ours", 100), ("ours", 500), ("plain", 500), ("limit", 500)]
    assert plan(0.5, 500, 100, every) == [("ours", 100), ("ours", 500), ("plain", 100), ("limit", 500)]
    assert plan(0.5, 60, 100, ["ours", "limit"]) == [("ours", 60), ("limit", 60)]


def test_the_table_compares_at_one_latency() -> None:
    def row(what: str, latency_seconds: float, items_per_second: float) -> Row:
        return Row(what, latency_seconds, 500, items_per_second, 0.0, 2.0, 1.0, 50.0, 300.0)

    rows = [row("ours", 0.05, 60.0), row("plain", 0.05, 6.0), row("limit", 0.05, 240.0), row("ours", 0.5, 30.0)]
    console = Console(width=140, file=io.StringIO())
    with console.capture() as shown:
        console.print(table(rows, repeats=3))
    lines = [line.split("│") for line in shown.get().splitlines() if "tritrack" in line]
    assert [[cell.strip() for cell in line[5:7]] for line in lines] == [["10.0", "25%"], ["-", "-"]]
