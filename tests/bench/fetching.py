"""What `make bench-download` compares, each as a program: the download stage, plain yt-dlp, and the limit.

`python -m tests.bench.fetching ours|limit ...` does one and prints what it cost as JSON. It is a process of its own,
so that its memory and CPU time, with those of all processes that it started, are told apart from the benchmark's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

CONNECTIONS = 16
_BLOCK_BYTES = 1 << 18
_PRELOAD = ("tasks.download.preload",)  # as flows.download preloads it; that module would bring Prefect along


@dataclass(frozen=True)
class Fetching:
    """What one fetch of all clips took. `again_seconds`: a second run over what is committed; 0 where there is none."""

    seconds: float
    cpu_seconds: float
    again_seconds: float = 0.0


def ours(urls: Sequence[str], folder: Path) -> Fetching:
    """The download stage's batch into a new local root, the start of its workers included; then the same again."""
    from flows.plan import plan_download
    from flows.selection import SourceList
    from storage.root import open_root
    from storage.versions import Version
    from tasks.batch import run_batch
    from tasks.download.config import DownloadConfig
    from tasks.download.governor import Governor
    from tasks.download.sources import source_at
    from tasks.limits import Limits
    from tasks.pool import WorkerPool
    from tasks.presets import sample

    download = DownloadConfig(
        connections=CONNECTIONS,
        per_host_connections=CONNECTIONS,
        allow_hosts=(urlsplit(urls[0]).netloc,),
        min_free_bytes=0,
    )
    config = sample().model_copy(update={"download": download})
    root = open_root(str(folder / "root"))
    plan = plan_download(Version("bench"), SourceList([source_at(url) for url in urls]), config)
    unit = config.execution
    limits = Limits(unit.unit_memory_bytes, unit.unit_cpu_seconds, download.max_fetch_seconds, download.max_bytes)
    seconds, cached, cpu_seconds = [], [], 0.0
    for _ in range(2):
        begun = time.perf_counter()
        with WorkerPool(CONNECTIONS, limits, _PRELOAD) as pool:
            outcomes = run_batch(pool, root, plan.units, intake=Governor(root, download))
            seconds.append(time.perf_counter() - begun)
            cpu_seconds = cpu_seconds or tree_cpu_seconds()
        wrong = [outcome for outcome in outcomes if outcome.failure or outcome.pending]
        assert not wrong, wrong[0]
        cached.append(sum(outcome.cached for outcome in outcomes))
    assert cached == [0, len(urls)], cached
    return Fetching(seconds[0], cpu_seconds, seconds[1])


def limit(urls: Sequence[str], folder: Path) -> Fetching:
    """What the network allows: an asyncio client with as many connections, which writes each body to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    asyncio.run(_fetch_all(urls, folder))
    return Fetching(time.perf_counter() - begun, tree_cpu_seconds())


async def _fetch_all(urls: Sequence[str], folder: Path) -> None:
    import aiohttp

    waiting = iter(urls)

    async def fetch(session: aiohttp.ClientSession) -> None:
        for url in waiting:
            async with session.get(url) as answer:
                answer.raise_for_status()
                with (folder / url.rpartition("/")[2]).open("wb") as writer:
                    async for block in answer.content.iter_chunked(_BLOCK_BYTES):
                        writer.write(block)

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(fetch(session))


def plain_command(urls: Path, folder: Path, format_expression: str) -> list[str]:
    """`yt-dlp -a list` as a user types it, with the stage's format expression and no configuration of its own."""
    program = str(Path(sys.executable).with_name("yt-dlp"))
    options = ["--ignore-config", "--no-progress", "-f", format_expression, "-o", "%(id)s.%(ext)s"]
    return [program, *options, "-P", str(folder), "-a", str(urls)]


def tree_cpu_seconds() -> float:
    """CPU seconds of this process and all below it, those that have ended included."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it ended just now; its parent's sum has it
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("ours", "limit"))
    parser.add_argument("urls", type=Path, help="file with one URL a line")
    parser.add_argument("folder", type=Path, help="new folder for what is fetched")
    options = parser.parse_args()
    urls = options.urls.read_text(encoding="utf-8").split()
    fetching = (ours if options.what == "ours" else limit)(urls, options.folder)
    print(json.dumps(asdict(fetching)))


if __name__ == "__main__":
    main()
