"""A training run under SIGKILL: `python -m tests.chaos.training --kills 20 --seed 0`.

Kills a rank, the agent of the ranks or the parent at random moments, so many times in each of two runs: in one whose
number of ranks stays, and in one that goes on with 2, 1, 4 and 2 ranks in turn whenever its parent was killed. Each
step must consume exactly the samples of an undisturbed run; with equal ranks the outputs must be the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import psutil
from rich.console import Console

from storage.manifests import Manifest, read_file, require_manifest
from storage.root import open_root
from storage.versions import latest_version
from tests.chaos.attempts import PROJECT, await_children, clean_environment, run_attempt
from tests.chaos.faults import Orders
from tests.chaos.records import DATASET
from tests.chaos.samples import VARIABLE, Consumed, read_consumed
from tests.chaos.world import settings, write_world

_VICTIMS = ("rank", "agent", "parent")
_MODULES: Mapping[str, str] = {"rank": "tasks.train.worker", "agent": "tasks.train.agent"}
_AT_START_SHARE = 0.25  # of the kills: while processes start, before a step is taken
_START_SECONDS = (0.0, 8.0)
_STEPS_A_KILL = 12
_HANGS_SECONDS = 240.0  # without a step
_PREPARE = ("download", "track", "shard")


@dataclass
class Report:
    """What a run met. `failures` are sentences; none means that it held.

    `consumed`: steps by the number of ranks that took them; `again`: steps that were taken more than once;
    `slowest_seconds`: from a kill, or the start, to the step of the next kill at most.
    """

    name: str
    kills: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    consumed: Counter[int] = field(default_factory=Counter)
    again: int = 0
    slowest_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{victim} {self.kills[victim]}" for victim in _VICTIMS)
        ranks = ", ".join(f"{number} by {count}" for count, number in sorted(self.consumed.items()))
        held = "FAILED" if self.failures else "held"
        return (
            f"{self.name}: {held}: {self.kills.total()} kills ({kills}), {self.attempts} attempts, steps by ranks: "
            f"{ranks}; {self.again} steps again, at most {self.slowest_seconds:.0f} s from a kill to where the next "
            f"one comes, {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class Place:
    """Where the runs work: one packed data set that each copies, and the settings of all."""

    folder: Path
    world: Path
    steps: int

    def arguments(self, root: str, *stages: str, ranks: int = 1, workers: int = 1) -> list[str]:
        own = {
            "train.steps": self.steps,
            "train.checkpoint_every_steps": 5,
            "train.ranks": ranks,
            "train.loader_workers": workers,
            "train.restarts": 100,
        }
        given = [part for name, value in own.items() for part in ("--set", f"{name}={value}")]
        where = ["--root", root, "--dataset", DATASET, "--sources", str(self.world)]
        return ["-m", "tests.chaos.stage", *stages, *where, *settings(self.world, workers=1), *given]

    def prepare(self) -> None:
        """Make what training needs; raises RuntimeError where that fails."""
        orders = Orders("", 0.0, str(self.folder / "prepare"))
        attempt = run_attempt(self.arguments(str(self.folder / "packed"), *_PREPARE), {}, orders)
        if attempt.ending != "done":
            raise RuntimeError(f"the undisturbed stages {attempt.ending}: {attempt.words}")


class Run:
    """One training run, in as many attempts as its kills make of it."""

    def __init__(self, place: Place, name: str) -> None:
        self.report = Report(name)
        self._place = place
        self._folder = place.folder / name.replace(" ", "-")
        self._folder.mkdir()
        self._root = self._folder / "root"
        subprocess.run(["cp", "-r", str(place.folder / "packed"), str(self._root)], check=True)

    @property
    def samples(self) -> Path:
        return self._folder / "samples"

    def train(self, ranks: Iterator[int], kills: int, seed: str) -> None:
        """Train to the end under so many kills; `ranks`: of each attempt in turn."""
        draws, started = random.Random(seed), time.monotonic()
        left = deque(draws.choice((*_VICTIMS, "parent")) for _ in range(kills))
        while not self.report.failures:
            self.report.attempts += 1
            with self._attempt(next(ranks), draws.randint(1, 3)) as process:
                while left and self._kill_one(process, left[0], draws):
                    self.report.kills[left.popleft()] += 1
                self._await_end(process)
            if process.returncode == 0:
                break
        self.report.seconds = time.monotonic() - started
        if left:
            self.report.failures.append(f"it ended before its last {len(left)} kills")

    def judge(self, reference: Run, is_equal: bool) -> None:
        """Write into the report what does not hold. `is_equal`: the ranks were those of the reference."""
        report, expected = self.report, _by_step(reference.samples)
        found = read_consumed(self.samples)
        for one in found:
            pairs, images = expected[one.step]
            if one.pairs != pairs or one.images != images[one.first : one.first + len(one.images)]:
                report.failures.append(f"step {one.step} consumed other samples on rank {one.rank} of {one.ranks}")
        taken = Counter((one.step, one.ranks) for one in found if one.rank == 0)
        report.consumed = Counter(ranks for _, ranks in taken)
        by_step = Counter(one.step for one in found if one.rank == 0)
        report.again = sum(count - 1 for count in by_step.values())
        if set(by_step) != set(range(self._place.steps)):
            report.failures.append("steps are missing")
        if is_equal:  # else sums of floats in another order part the weights, by a little that training amplifies
            theirs, ours = reference.outputs(), self.outputs()
            report.failures += [f"other bytes: {name}" for name in theirs if theirs[name] != ours[name]]

    def outputs(self) -> dict[str, bytes]:
        """The unit's files by name."""
        root, manifest = open_root(str(self._root)), self._manifest()
        return {name: read_file(root, file) for name, file in manifest.files.items()}

    def _manifest(self) -> Manifest:
        root = open_root(str(self._root))
        unit = latest_version(root, DATASET).units["train"]
        return require_manifest(root, "train", unit.key)

    @contextlib.contextmanager
    def _attempt(self, ranks: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
        """A parent under way; whom it leaves behind for long is a failure."""
        folder = self._folder / f"attempt-{self.report.attempts:03d}"
        folder.mkdir()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *self._place.arguments(str(self._root), "train", ranks=ranks, workers=workers)],
                cwd=PROJECT,
                env=clean_environment() | Orders("", 0.0, str(folder)).environment() | {VARIABLE: str(self.samples)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield process
        self.report.failures += [f"left alive: {survivor}" for survivor in await_children(str(folder))]
        if process.returncode not in (0, -9):
            self.report.failures.append(f"failed by itself: {(folder / 'output').read_text(errors='replace')[-2000:]}")

    def _kill_one(self, process: subprocess.Popen[bytes], victim: str, draws: random.Random) -> bool:
        """Kill at a moment of the drawn kind; False where the parent is gone, or the run over, before it comes."""
        if draws.random() < _AT_START_SHARE:
            time.sleep(draws.uniform(*_START_SECONDS))
        else:
            begun = time.monotonic()
            self._await_step(process, self._last_step() + draws.randint(1, _STEPS_A_KILL), self._size())
            self.report.slowest_seconds = max(self.report.slowest_seconds, time.monotonic() - begun)
            time.sleep(draws.uniform(0.0, 0.2))
        while process.poll() is None:
            if victim == "parent":
                process.kill()
                process.wait()
                return True
            if found := _processes(process, _MODULES[victim]):
                with contextlib.suppress(psutil.NoSuchProcess):
                    draws.choice(found).kill()
                    return True
            time.sleep(0.05)
        return False

    def _await_step(self, process: subprocess.Popen[bytes], step: int, size: int) -> None:
        """Wait until a step so far is taken anew."""
        end = time.monotonic() + _HANGS_SECONDS
        while process.poll() is None and (self._last_step() < step or self._size() == size):
            if time.monotonic() > end:
                self._end_hung(process)
            time.sleep(0.02)

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end, as long as steps are taken."""
        size, end = self._size(), time.monotonic() + _HANGS_SECONDS
        while process.poll() is None:
            if self._size() != size:
                size, end = self._size(), time.monotonic() + _HANGS_SECONDS
            elif time.monotonic() > end:
                self._end_hung(process)
            time.sleep(0.1)

    def _end_hung(self, process: subprocess.Popen[bytes]) -> None:
        self.report.failures.append(f"hung: no step in {_HANGS_SECONDS:.0f} s")
        process.kill()
        process.wait()

    def _size(self) -> int:
        return self.samples.stat().st_size if self.samples.exists() else 0

    def _last_step(self) -> int:
        """The step that was consumed last; -1 before the first."""
        if not self._size():
            return -1
        with self.samples.open("rb") as file:
            file.seek(-min(self._size(), 4096), os.SEEK_END)
            lines = file.read().decode().splitlines()
        return int(lines[-1].removeprefix("[").split(",", 1)[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive, print what happened, and return 0 where all held."""
    parser = argparse.ArgumentParser(prog="tests.chaos.training", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs of each of the two runs")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="tritrack-chaos-") as folder:
        world = write_world(Path(folder) / "world", num_videos=4)
        place = Place(Path(folder), world, 2 * _STEPS_A_KILL * given.kills)
        place.prepare()
        reference = Run(place, "undisturbed")
        reference.train(cycle([2]), 0, "")
        for name, ranks in (("equal ranks", [2]), ("changing ranks", [2, 1, 4, 2])):
            run = Run(place, name)
            run.train(cycle(ranks), given.kills, f"{given.seed}/{name}")
            if not run.report.failures:
                run.judge(reference, is_equal=len(ranks) == 1)
            reports.append(run.report)
            console.print(str(run.report), *run.report.failures, sep="\n", markup=False, highlight=False)
    return 1 if any(report.failures for report in [reference.report, *reports]) else 0


def _by_step(samples: Path) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Of each step the pairs of the whole batch and the checksums of all its images, put together from the ranks."""
    steps: dict[int, list[Consumed]] = {}
    for one in read_consumed(samples):
        steps.setdefault(one.step, []).append(one)
    return {
        step: (
            parts[0].pairs,
            tuple(image for part in sorted(parts, key=lambda part: part.first) for image in part.images),
        )
        for step, parts in steps.items()
    }


def _processes(parent: subprocess.Popen[bytes], module: str) -> list[psutil.Process]:
    """The parent's descendants that run a module."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                command = child.cmdline()
                if command[1:3] == ["-m", module] or command[1:4] == ["-u", "-m", module]:
                    found.append(child)
    return found


if __name__ == "__main__":
    sys.exit(main())
