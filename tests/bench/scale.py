"""`make bench-scale`: what a run adds to its work as a data set grows: the real planner, flows, pool and ledger.

The work itself is stubbed: a unit's process answers at once and commits nothing. So what is left is planning, Prefect,
handing units to worker processes, recording versions, artifacts and the ledger. Each size runs the whole pipeline in a
process of its own on a Prefect server that all share: task runs, requests to Prefect and to the store, seconds, and
peak memory; the last table says where the seconds of the largest went.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.flows.conftest import prefect_server

LIMIT_TASK_RUNS, LIMIT_MS = 10_000, 5.0
_LOOK_SECONDS = 0.25
_DRIVER = """
import json, resource, sys, time
begun = time.perf_counter()
import flows
import httpx
asked = []
def counted(send):
    def count(self, request, *arguments, **options):
        asked.append(request.url.path)
        return send(self, request, *arguments, **options)
    return count
httpx.Client.send, httpx.AsyncClient.send = counted(httpx.Client.send), counted(httpx.AsyncClient.send)
from flows.pipeline import pipeline
import tasks.download.task, tasks.evaluate.task, tasks.shard.task, tasks.track.task, tasks.train.task
from storage.traffic import traffic
from tasks.batch import run_batch
from tests.bench.stub import imagined
from tests.flows.imagined import imagined_outcome
def stubbed(pool, root, units, *rest):
    return run_batch(pool, root, [imagined(unit) for unit in units], *rest)
for stage in (tasks.download.task, tasks.track.task, tasks.shard.task):
    stage.run_batch = stubbed
for stage in (tasks.train.task, tasks.evaluate.task):
    stage.run_unit = lambda root, unit, **options: imagined_outcome(unit)
url, sources = sys.argv[1:]
imported = time.perf_counter()
summaries = pipeline(root=url, dataset="bench", sources=sources, track_estimator="klt")
ended = time.perf_counter()
def cpu(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
stages = {one["stage"]: [one["committed"], one["seconds"]] for one in summaries}
sys.stderr.flush()
print(json.dumps({"import": imported - begun, "run": ended - imported, "stages": stages,
                  "asked": len(asked), "store": traffic().requests, "cpu": cpu(resource.RUSAGE_SELF)}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    console = Console(width=150)
    told: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as name, prefect_server(Path(name) / "server") as server:
        for size in options.sizes:
            before = _task_runs(server)
            told[size] = _run(Path(name), size, server.environment)
            told[size]["task_runs"] = _task_runs(server) - before
            console.print(_table(told))
    if len(told) > 1:
        (small, first), *_, (large, last) = sorted(told.items())
        each = {name: (last[name] - first[name]) / (large - small) for name in ("run", "cpu", "peak_mb")}
        wall, cpu = (f"{each[name] * 1000:.2f} ms" for name in ("run", "cpu"))
        memory = f"{each['peak_mb'] * 1000:.1f} kB"
        console.print(f"From {small:,} to {large:,} a video more costs {wall} ({cpu} of CPU) and {memory}.")
    console.print(f"Limits: {LIMIT_TASK_RUNS:,} task runs and {LIMIT_MS:g} ms a video.")
    console.print(f"Load average now: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    return 0


def _task_runs(server: Any) -> int:
    return int(server.post("task_runs/count", {}))


def _run(folder: Path, size: int, environment: Mapping[str, str]) -> dict[str, Any]:
    sources = folder / f"{size}.txt"
    sources.write_text("".join(f"https://videos.example/{number}.mp4\n" for number in range(size)))
    command = [sys.executable, "-c", _DRIVER, str(folder / f"root-{size}"), str(sources)]
    told, peak_bytes = folder / f"{size}.log", 0
    with (
        told.open("w") as output,
        subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output) as run,
    ):
        while run.poll() is None:  # the kernel's own mark is reset at each unit that the process runs itself
            with contextlib.suppress(psutil.NoSuchProcess):
                peak_bytes = max(peak_bytes, psutil.Process(run.pid).memory_info().rss)
            time.sleep(_LOOK_SECONDS)
    last = told.read_text().splitlines()[-1]
    if run.returncode:
        raise RuntimeError(f"{told.read_text()[-4000:]}")
    record: dict[str, Any] = {**json.loads(last), "peak_mb": peak_bytes / 2**20}
    assert record["stages"]["track"][0] == size, "every video was tracked"
    return record


def _table(told: Mapping[int, Mapping[str, Any]]) -> Table:
    stages = list(next(iter(told.values()))["stages"])
    head = (
        "videos",
        "task runs",
        "Prefect requests",
        "store requests",
        "peak MB",
        "seconds",
        "ms a video",
        "CPU ms a video",
    )
    table = Table(
        *head, *(f"{stage} s" for stage in stages), title="Whole runs with stubbed work", title_justify="left"
    )
    for size, record in told.items():
        seconds = [f"{record['stages'][stage][1]:.1f}" for stage in stages]
        table.add_row(
            f"{size:,}", f"{record['task_runs']:,}", f"{record['asked']:,}", f"{record['store']:,}",
            f"{record['peak_mb']:.0f}", f"{record['run']:.1f}", f"{record['run'] / size * 1000:.2f}",
            f"{record['cpu'] / size * 1000:.2f}", *seconds,
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
