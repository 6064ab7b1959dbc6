"""Kills and faults by the hundred: `python -m tests.chaos.drive --kills 90 --prefect-kills 10 --faults 1000`.

Makes one small data set after the other, each from nothing on a fresh root, local and S3 in turn, until as many kills
and faults are survived as asked for. What a cycle meets is drawn from its name alone: `--repeat NAME` meets it again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import cast

from rich.console import Console
from rich.table import Table

from tests.chaos.cycles import make_reference, run_cycle
from tests.chaos.records import ENTRIES, START, Entry, Order, Place, Reference, Report
from tests.chaos.s3 import BUCKET, s3_server, s3_variables
from tests.chaos.stage import STAGES
from tests.chaos.world import write_world

_KILLS_PER_STAGE = 2
_MOST_FAILED = 3  # cycles of a lane, before it gives up
# By entry and kind of root. A full disk, one fault in twelve on local disk, ends a whole `tritrack run`.
_RATES: Mapping[tuple[Entry, str], float] = {
    ("stages", "local"): 0.25,
    ("stages", "s3"): 0.15,
    ("prefect", "local"): 0.1,
    ("prefect", "s3"): 0.1,
    ("together", "local"): 0.1,
    ("together", "s3"): 0.15,
}


@dataclass(frozen=True)
class Wanted:
    """What a lane, or a whole drive, is asked for: kills by entry, and faults in all of them."""

    kills: Mapping[Entry, int]
    faults: int

    def share(self, place: int, lanes: int) -> Wanted:
        """One lane's part of the whole, so that all of them add up to it."""
        kills = {entry: (number + place) // lanes for entry, number in self.kills.items()}
        return Wanted(kills, -(-self.faults // lanes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive, print the tables, and return 0 where every cycle held.

    A drive that cannot reach its numbers has failed cycles: it gives up after three in a lane.
    """
    given = _parser().parse_args(arguments)
    kinds = ("local", "s3") if given.root == "both" else (given.root,)
    wanted = Wanted({"stages": given.kills, "prefect": given.prefect_kills, "together": 0}, given.faults)
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 120)
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="tritrack-chaos-") as folder, ExitStack() as stack:
        endpoint = ""
        if "s3" in kinds:
            endpoint = stack.enter_context(s3_server())
            _make_bucket(endpoint)
        world = write_world(Path(folder) / "world")
        reference = make_reference(Place(world, Path(folder) / "reference", f"{folder}/reference/root"))
        driver = _Driver(Place(world, Path(folder), "", endpoint), reference)
        cycles = [driver.run(given.repeat)] if given.repeat else _drive(driver, wanted, given.seed, kinds)
        for report in cycles:
            reports.append(report)
            _show_cycle(report, console)
    _show_totals(reports, time.monotonic() - started, console)
    return 1 if any(report.failures for report in reports) or not reports else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.chaos.drive", description=__doc__)
    parser.add_argument("--kills", type=int, default=90, help="SIGKILLs of the plain stage entries")
    parser.add_argument("--prefect-kills", type=int, default=10, help="SIGKILLs of `tritrack run` under Prefect")
    parser.add_argument("--faults", type=int, default=1000, help="faults in all, of the store and of the proxy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", choices=("local", "s3", "both"), default="both")
    parser.add_argument("--repeat", default="", metavar="NAME", help="run one cycle alone, by the name in the table")
    return parser


@dataclass(frozen=True)
class _Driver:
    """Runs cycles by their names."""

    place: Place
    reference: Reference

    def run(self, name: str) -> Report:
        """One cycle; its name is seed/entry/kind/number/kills, and decides what it meets."""
        _, entry, kind, _, most = name.split("/")
        own = cast(Entry, entry)
        folder = self.place.folder / name.replace("/", "-")
        is_s3 = kind == "s3"
        where = replace(
            self.place,
            folder=folder,
            root=f"s3://{BUCKET}/{folder.name}" if is_s3 else str(folder / "root"),
            endpoint=self.place.endpoint if is_s3 else "",
            prefect_home=self.place.folder / f"prefect-{kind}",
        )
        stages = [START, *STAGES] if own == "prefect" else list(STAGES)
        if is_s3:
            stages.reverse()  # so that the few of two lanes are spread over all stages
        share, more = divmod(int(most), len(stages))
        kills = {stage: share + (place < more) for place, stage in enumerate(stages)}
        return run_cycle(where, Order(name, own, kills, _RATES[own, kind]), self.reference)


def _drive(driver: _Driver, wanted: Wanted, seed: int, kinds: Sequence[str]) -> Iterator[Report]:
    """A lane a kind of root, all at once: cycles on S3 wait for retries most of their time."""
    queue: SimpleQueue[Report | None] = SimpleQueue()
    stop = Event()

    def lane(place: int, kind: str) -> None:
        try:
            for report in _lane(driver, wanted.share(place, len(kinds)), seed, kind, stop):
                queue.put(report)
        finally:
            queue.put(None)

    with ThreadPoolExecutor(len(kinds)) as pool:
        lanes = [pool.submit(lane, *numbered) for numbered in enumerate(kinds)]
        try:
            for _ in lanes:
                yield from iter(queue.get, None)
        finally:
            stop.set()
        for future in lanes:
            future.result()


def _lane(driver: _Driver, wanted: Wanted, seed: int, kind: str, stop: Event) -> Iterator[Report]:
    """Cycles of each entry until its kills are survived, then faults alone until there are enough."""
    faults, failed = 0, 0
    for entry in ENTRIES:
        left = wanted.kills[entry]
        for number in itertools.count():
            is_done = left <= 0 and (entry != "together" or faults >= wanted.faults)
            if is_done or failed >= _MOST_FAILED or stop.is_set():
                break
            most = min(left, _KILLS_PER_STAGE * len(STAGES))
            report = driver.run(f"{seed}/{entry}/{kind}/{number}/{most}")
            left -= report.kills.total()
            faults += report.faults.total()
            failed += bool(report.failures)
            yield report


def _make_bucket(endpoint: str) -> None:
    """The driver itself speaks to the server past the proxy, and to no other, whatever its environment said."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(s3_variables(endpoint))
    s3fs.S3FileSystem().mkdir(BUCKET)


def _show_cycle(report: Report, console: Console) -> None:
    held = "held" if not report.failures else "[red]FAILED[/]"
    console.print(
        f"{report.seed:22} {held}: {report.kills.total()} kills, {report.faults.total()} faults, "
        f"{report.attempts} attempts, {report.again} units again, {report.seconds:.0f} s"
    )
    for failure in report.failures:
        console.print(failure, markup=False, highlight=False)


def _show_totals(reports: Sequence[Report], seconds: float, console: Console) -> None:
    kills = Table("entry", START, *STAGES, "kills", "cycles", title="Kills by stage", title_justify="left")
    for entry in ENTRIES:
        own = [report for report in reports if report.entry == entry]
        total = sum((report.kills for report in own), Counter[str]())
        kills.add_row(entry, *(str(total[stage]) for stage in (START, *STAGES)), str(total.total()), str(len(own)))
    console.print(kills)
    faults = Table("root", "fault", "times", title="Faults by kind", title_justify="left")
    for kind in ("local", "s3"):
        own = [report for report in reports if f"/{kind}/" in report.seed]
        for fault, number in sorted(sum((report.faults for report in own), Counter[str]()).items()):
            faults.add_row(kind, fault, str(number))
    console.print(faults)
    endings = Table("last line", "times", title="How attempts ended that a fault ended", title_justify="left")
    for line, number in sum((report.endings for report in reports), Counter[str]()).most_common():
        endings.add_row(line, str(number))
    console.print(endings)
    failed = [report.seed for report in reports if report.failures]
    console.print(
        f"{sum(report.kills.total() for report in reports)} kills and "
        f"{sum(report.faults.total() for report in reports)} faults survived in {len(reports) - len(failed)} of "
        f"{len(reports)} cycles, {sum(report.attempts for report in reports)} attempts, "
        f"{sum(report.again for report in reports)} units begun again, "
        f"{sum(report.temporary for report in reports)} temporary files left, "
        f"longest life after a parent's end {max((report.lingered_seconds for report in reports), default=0):.1f} s, "
        f"{seconds:.0f} s in all"
    )
    for name in failed:
        console.print(f"failed: python -m tests.chaos.drive --repeat {name}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
