"""`make bench-download`: the download stage beside plain yt-dlp and beside what the network allows.

A loopback server in a process of its own answers after 50 ms and after 500 ms. Each of the three fetches its clips in
a process of its own, several times in turn; the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.clipserver import PROJECT, ClipServer, make_clips, serve_clips
from tests.bench.fetching import CONNECTIONS, Fetching, plain_command
from tests.bench.watching import Watched, run_watched

TARGETS = {0.05: 3.0, 0.5: 8.0}  # times plain yt-dlp, by latency in seconds
_PLAIN_CLIPS = 100  # of plain yt-dlp where the latency is long: one after another, 500 take nine minutes at 500 ms
_LONG_SECONDS = 0.2


@dataclass(frozen=True)
class Row:
    """One way to fetch at one latency, medians over the repeats. `again_per_second`: where all is committed; else 0."""

    what: str
    latency_seconds: float
    clips: int
    items_per_second: float
    again_per_second: float
    requests_per_item: float
    connections_per_item: float
    cpu_ms_per_item: float
    peak_mb: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--few", type=int, default=100, help="clips of a second run, which says whether memory grows")
    parser.add_argument("--latencies", type=float, nargs="+", default=list(TARGETS), help="in seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=("ours", "plain", "limit"), default=["ours", "plain", "limit"])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    options = parser.parse_args()
    progress = Console(stderr=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as folder:
        names = make_clips(Path(folder, "clips"), options.clips)
        with serve_clips(Path(folder, "clips")) as server:
            for latency in options.latencies:
                counts = plan(latency, options.clips, options.few, options.only)
                with progress.status(f"{latency * 1e3:.0f} ms"):
                    rows += measure(server, names, latency, counts, options.repeats)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        Console(width=120).print(table(rows, options.repeats))
    return 0


def plan(latency: float, clips: int, few: int, only: Sequence[str]) -> list[tuple[str, int]]:
    """What to fetch at one latency, and how many clips of it."""
    plain = min(clips, _PLAIN_CLIPS) if latency > _LONG_SECONDS else clips
    counts = [("ours", min(few, clips)), ("ours", clips), ("plain", plain), ("limit", clips)]
    return [(what, number) for what, number in dict.fromkeys(counts) if what in only]


def measure(
    server: ClipServer, names: Sequence[str], latency: float, counts: Sequence[tuple[str, int]], repeats: int
) -> list[Row]:
    """Fetch in each way, one after the other and over again, so that a slow minute of the machine meets them all."""
    found: dict[tuple[str, int], list[Row]] = {count: [] for count in counts}
    for _ in range(repeats):
        for what, number in counts:
            found[what, number].append(_fetch(server, names[:number], latency, what))
    return [_median(rows) for rows in found.values()]


def _fetch(server: ClipServer, names: Sequence[str], latency: float, what: str) -> Row:
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as scratch:
        urls, folder = Path(scratch, "urls.txt"), Path(scratch, "fetched")
        urls.write_text("".join(f"{server.url(name)}\n" for name in names), encoding="utf-8")
        server.reset(latency)
        if what == "plain":
            from tasks.download.config import DownloadConfig
            from tasks.download.ytdlp import format_expression

            watched = run_watched(plain_command(urls, folder, format_expression(DownloadConfig())))
            fetching = Fetching(watched.seconds, watched.cpu_seconds)
            assert len(list(folder.iterdir())) == len(names), "yt-dlp left clips out"
        else:
            watched = run_watched([sys.executable, "-m", "tests.bench.fetching", what, str(urls), str(folder)], PROJECT)
            fetching = Fetching(**json.loads(watched.output))
        return _row(server, what, latency, len(names), fetching, watched)


def _row(server: ClipServer, what: str, latency: float, clips: int, fetching: Fetching, watched: Watched) -> Row:
    traffic = server.traffic()
    return Row(
        what=what,
        latency_seconds=latency,
        clips=clips,
        items_per_second=clips / fetching.seconds,
        again_per_second=clips / fetching.again_seconds if fetching.again_seconds else 0.0,
        requests_per_item=traffic.requests / clips,
        connections_per_item=traffic.connections / clips,
        cpu_ms_per_item=fetching.cpu_seconds / clips * 1e3,
        peak_mb=watched.peak_mb,
    )


def _median(rows: Sequence[Row]) -> Row:
    first = asdict(rows[0])
    numbers = [name for name, value in first.items() if isinstance(value, float)]
    return Row(**first | {name: statistics.median(getattr(row, name) for row in rows) for name in numbers})


def table(rows: Sequence[Row], repeats: int) -> Table:
    """The rows, with what each has of plain yt-dlp's speed and of the limit at its latency."""
    shown = Table(
        "latency", "", "clips", "items/s", "x plain", "of limit", "again/s", "requests", "connections", "CPU ms",
        "peak MB",
        title=f"Fetching clips of 100-300 kB over {CONNECTIONS} connections (medians of {repeats})",
        caption="requests, connections and CPU ms an item; CPU and memory (PSS) of the whole process tree; again: all "
        "is committed. Ours from the start of its workers, yt-dlp from that of its process. Wanted: "
        + ", ".join(f"{times:.0f} x plain yt-dlp at {latency * 1e3:.0f} ms" for latency, times in TARGETS.items()),
        title_justify="left", caption_justify="left",
    )  # fmt: skip
    for row in rows:
        plain, best = _speed(rows, row, "plain"), _speed(rows, row, "limit")
        shown.add_row(
            f"{row.latency_seconds * 1e3:.0f} ms",
            {"ours": "tritrack", "plain": "yt-dlp -a", "limit": "asyncio client"}[row.what],
            f"{row.clips:,}",
            f"{row.items_per_second:.2f}",
            f"{row.items_per_second / plain:.1f}" if plain else "-",
            f"{row.items_per_second / best:.0%}" if best else "-",
            f"{row.again_per_second:.0f}" if row.again_per_second else "-",
            f"{row.requests_per_item:.2f}",
            f"{row.connections_per_item:.2f}",
            f"{row.cpu_ms_per_item:.0f}",
            f"{row.peak_mb:.0f}",
        )
    return shown


def _speed(rows: Sequence[Row], beside: Row, what: str) -> float:
    """Items a second of another way to fetch at the same latency; 0 where it was not measured."""
    same: Iterator[Row] = (row for row in rows if row.what == what and row.latency_seconds == beside.latency_seconds)
    found = next(same, None)
    return found.items_per_second if found else 0.0


if __name__ == "__main__":
    sys.exit(main())
