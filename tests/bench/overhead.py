"""`make bench-overhead`: what Prefect and storage add to a run, each figure beside a limit of the same minutes.

Cold starts beside Python's own and Prefect's import; a run that has nothing to do beside six bare Prefect flows, on
the ephemeral server (fresh home and warm) and on a running one; and a unit, as the slope over stub units that commit
one small file each, beside the same units without Prefect and without a worker process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.estimator import with_estimator
from storage.root import open_root
from storage.versions import Version, update_version
from tasks.presets import sample
from tests.flows.conftest import prefect_environment, prefect_server
from tests.flows.imagined import imagined_run, imagined_sources

_DATASET = "bench"
_FLOWS = """
from prefect import flow
@flow(persist_result=False)
def stage(): ...
@flow(persist_result=False)
def whole():
    for _ in range(5):
        stage()
whole()
"""
_UNITS = """
import json, sys, time
from pathlib import Path
from prefect import flow
from flows.plan import StagePlan
from flows.stage import finish, open_run, run_batches
from storage.root import open_root
from tasks.batch import run_batch, run_unit
from tasks.pool import WorkerPool
from tasks.track.task import track_batch
from tests.bench.stub import small_units
url, number = sys.argv[1], int(sys.argv[2])
root = open_root(url)
@flow(persist_result=False)
def whole():
    with open_run("track", url, "bench", {"track_estimator": "klt"}) as run:
        plan = StagePlan("track", tuple(small_units(number, f"flow {number}")))
        finish(run, plan, run_batches(run, plan, track_batch))
def timed(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
def pooled():
    with WorkerPool(2) as pool:
        run_batch(pool, root, small_units(number, f"pool {number}"))
def alone():
    for unit in small_units(number, f"alone {number}"):
        run_unit(root, unit)
print(json.dumps({"flow": timed(whole), "pool": timed(pooled), "alone": timed(alone)}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--units", type=int, nargs=2, default=[20, 200])
    options = parser.parse_args()
    console = Console(width=110)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as name:
        folder = Path(name)
        _imagine_root(folder / "root")
        starts = _starts(folder, options.repeats)
        runs, units = _runs(folder, options.repeats, options.units)
    console.print(_table("Cold starts", options.repeats, starts))
    console.print(_table("A run of all stages that has nothing to do", options.repeats, runs))
    few, many = options.units
    console.print(_table(f"A unit: the slope from {few} to {many} stub units, medians of {options.repeats}", 1, units))
    console.print(f"Load average before and after: {load:.1f} and {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores.")
    return 0


Row = tuple[str, str, str, str]
"""What, seconds, beside what, seconds and target."""


def _starts(folder: Path, repeats: int) -> list[Row]:
    environment = prefect_environment(folder / "home")
    tritrack = [sys.executable, "-m", "flows.cli"]
    root = ["--root", str(folder / "root"), "--dataset", _DATASET]
    commands: dict[str, tuple[list[str], str]] = {
        "python -c pass": ([sys.executable, "-c", "pass"], "the limit"),
        "tritrack --help": ([*tritrack, "--help"], "<= 0.5 s"),
        "tritrack status": ([*tritrack, "status", *root], "<= 2 s, without Prefect"),
        "import prefect": ([sys.executable, "-c", "import prefect"], "what every flow waits for first"),
        "import flows.pipeline": ([sys.executable, "-c", "import flows.pipeline"], ""),
    }
    return [(name, *_timed(command, environment, repeats), told) for name, (command, told) in commands.items()]


def _runs(folder: Path, repeats: int, sizes: list[int]) -> tuple[list[Row], list[Row]]:
    run = [sys.executable, "-m", "flows.cli", "run", "--flow"]
    run += ["--root", str(folder / "root"), "--dataset", _DATASET]
    bare = [sys.executable, "-c", _FLOWS]
    rows: list[Row] = []
    homes = (folder / f"home-{number}" for number in range(100))
    for name, told in (("fresh home", "<= 30 s"), ("warm home", "")):
        for what, command, target in (("tritrack run, ", run, told), ("six bare flows, ", bare, "the limit")):
            home = next(homes)
            if name == "warm home":
                _timed(bare, prefect_environment(home), 1)
            environments = [prefect_environment(next(homes) if name == "fresh home" else home) for _ in range(repeats)]
            rows.append((f"{what}ephemeral server, {name}", *_median(command, environments), target))
    with prefect_server(folder / "server") as server:
        _timed(bare, server.environment, 1)
        for what, command, target in (("tritrack run", run, "<= 12 s"), ("six bare flows", bare, "the limit")):
            rows.append((f"{what}, running server", *_timed(command, server.environment, repeats), target))
        few, many = (_units(folder, number, repeats, server.environment) for number in sizes)
    slope = {what: (many[what] - few[what]) / (sizes[1] - sizes[0]) for what in many}
    names = {"flow": "in a flow", "pool": "in a worker process, no Prefect", "alone": "in this process, no Prefect"}
    targets = {"flow": "<= 0.05 s", "pool": "", "alone": "the limit: a file and a manifest, synced"}
    units = [(names[what], f"{slope[what]:.4f}", f"{many[what]:.2f}", targets[what]) for what in slope]
    return rows, units


def _units(folder: Path, number: int, repeats: int, environment: Mapping[str, str]) -> dict[str, float]:
    """Median seconds of so many units, each time in a root and a process of their own."""
    told: list[dict[str, float]] = []
    for repeat in range(repeats):
        command = [sys.executable, "-c", _UNITS, str(folder / f"units-{number}-{repeat}"), str(number)]
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout.splitlines()[-1]))
    return {what: statistics.median(one[what] for one in told) for what in told[0]}


def _imagine_root(place: Path) -> None:
    """A data set whose every unit is committed, as far as its version says."""
    root = open_root(str(place))
    config = with_estimator(root, _DATASET, sample())
    version, _ = imagined_run(Version(_DATASET), imagined_sources(*range(6)), config)
    update_version(root, _DATASET, lambda _: version)


def _timed(command: list[str], environment: Mapping[str, str], repeats: int) -> tuple[str, str]:
    return _median(command, [environment] * repeats)


def _median(command: list[str], environments: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Seconds of a command: their median, and the least and the greatest."""
    seconds = []
    for environment in environments:
        begun = time.perf_counter()
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - begun)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
    return f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}"


def _table(title: str, repeats: int, rows: list[Row]) -> Table:
    table = Table("", "median s" if repeats > 1 else "s", "range" if repeats > 1 else "all, s", "target", title=title)
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())
