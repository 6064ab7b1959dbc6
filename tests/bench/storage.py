"""`make bench-storage`: what it costs to plan a run that has nothing to do, as a data set grows.

For each size a data set version is made whose every unit is committed, with a manifest for each of them on disk or in
the S3 server. Then `tritrack`'s planner runs on it in a process of its own: seconds, peak memory and requests.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track as progress_bar
from rich.table import Table

from flows.estimator import with_estimator
from flows.selection import SourceList
from storage.manifests import manifest_path
from storage.root import open_root
from storage.versions import Version, unit_keys, update_version
from tasks.download.sources import source_at
from tasks.presets import sample
from tests.bench.endpoint import backend_writer, moto_endpoint
from tests.flows.imagined import imagined_run

LIMIT_SECONDS, LIMIT_MB = 5.0, 400.0
_DATASET = "bench"
_MANIFEST = json.dumps({"schema": 2, "stage": "track", "key": "0" * 64, "files": {}, "counts": {"tracks": 5}}).encode()
_MEASURE = """
import json, re, sys, time
begun = time.perf_counter()
from flows.estimator import with_estimator
from flows.plan import is_done, plan_run
from flows.selection import known_sources
from storage.root import open_root
from storage.versions import latest_version
from tasks.presets import sample
url, dataset = sys.argv[1:]
requests = []
if url.startswith("s3"):
    import aiobotocore.endpoint
    sent = aiobotocore.endpoint.AioEndpoint._send
    async def count(self, request):
        requests.append(request.method)
        return await sent(self, request)
    aiobotocore.endpoint.AioEndpoint._send = count
imported = time.perf_counter()
version = latest_version(open_root(url), dataset)
read = time.perf_counter()
config = with_estimator(open_root(url), dataset, sample(), record=False)
plans = plan_run(version, known_sources(version), config)
done = is_done(plans)
ended = time.perf_counter()
with open("/proc/self/status") as status:  # ru_maxrss would be that of the process which started this one
    peak_mb = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) / 1024
print(json.dumps({"done": done, "import": imported - begun, "read": read - imported, "plan": ended - read,
                  "peak_mb": peak_mb, "requests": len(requests), "cached": sum(len(p.cached) for p in plans)}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stores", nargs="+", choices=("local", "s3"), default=["local", "s3"])
    options = parser.parse_args()
    console = Console(width=110)
    table = Table(
        "store", "sources", "import s", "read s", "plan s", "total s", "us a source", "peak MB", "requests",
        title=f"Planning a run that has nothing to do (medians of {options.repeats})", title_justify="left",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as folder, moto_endpoint() as environment:
        for store in options.stores:
            for size in options.sizes:
                url = f"{folder}/{size}" if store == "local" else f"s3://bench/{size}"
                write = _local_writer(Path(url)) if store == "local" else backend_writer("bench", f"{size}/")
                _fill(url, size, write)
                rows = [_measure(url, environment) for _ in range(options.repeats)]
                _add_row(table, store, size, rows)
                if store == "local":
                    shutil.rmtree(url)
    console.print(table)
    console.print(f"Limits at 100,000 sources on local disk: {LIMIT_SECONDS:.0f} s in all, {LIMIT_MB:.0f} MB.")
    return 0


def _fill(url: str, size: int, write: Callable[[str, bytes], None]) -> None:
    """A version whose every unit is committed, and the manifest of each."""
    sources = [source_at(f"https://videos.example/watch/{number}/{number}.mp4") for number in range(size)]
    config = with_estimator(open_root(url), _DATASET, sample())
    version, _ = imagined_run(Version(_DATASET), SourceList(sources, "list.txt"), config, _grouped)
    update_version(open_root(url), _DATASET, lambda _: version)
    for stage, key in progress_bar(
        list(unit_keys(version)), description=f"{size:,} sources: manifests", transient=True
    ):
        write(manifest_path(stage, key), _MANIFEST)


def _grouped(version: Version) -> Version:
    """Every video in a group of its own, one in eight held out: nights long past have looked for near-duplicates."""
    videos = {
        video: replace(entry, group=video, split="train" if number % 8 else "held_out")
        for number, (video, entry) in enumerate(version.videos.items())
    }
    return replace(version, videos=videos)


def _local_writer(root: Path) -> Callable[[str, bytes], None]:
    def write(path: str, data: bytes) -> None:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return write


def _measure(url: str, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-c", _MEASURE, url, _DATASET]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    record: dict[str, float] = json.loads(done.stdout)
    assert record["done"], "the planner found something to do"
    return record


def _add_row(table: Table, store: str, size: int, rows: list[dict[str, float]]) -> None:
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    total = median["import"] + median["read"] + median["plan"]
    each = (median["read"] + median["plan"]) / size * 1e6
    seconds = (f"{median[name]:.2f}" for name in ("import", "read", "plan"))
    requests = f"{median['requests']:.0f}" if store == "s3" else "-"
    table.add_row(store, f"{size:,}", *seconds, f"{total:.2f}", f"{each:.0f}", f"{median['peak_mb']:.0f}", requests)


if __name__ == "__main__":
    sys.exit(main())
