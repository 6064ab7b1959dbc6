"""One cycle: a data set made from nothing under kills and faults, and judged against an undisturbed one."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from storage.root import open_root
from tests.chaos.attempts import Attempt, run_attempt
from tests.chaos.faults import Event, Orders
from tests.chaos.judging import judge
from tests.chaos.outputs import read_outputs
from tests.chaos.proxy import FaultProxy
from tests.chaos.records import DATASET, START, WORKERS, Entry, Kill, Order, Place, Reference, Report
from tests.chaos.s3 import s3_variables
from tests.chaos.stage import STAGES
from tests.chaos.world import settings

_MOST_ATTEMPTS = 80
_TIMED_SHARE = 0.35  # of the kills; the others come at an operation of the root, where the commits are
_START_SECONDS = (0.0, 4.0)  # in which Prefect's ephemeral server, the first child, comes up


def make_reference(place: Place, entry: Entry = "stages") -> Reference:
    """Run every stage undisturbed; raises RuntimeError where one fails."""
    attempts = {}
    for step in _steps(entry):
        orders = Orders("", 0.0, str(place.folder / step))
        attempt = run_attempt(_command(entry, step, place), _environment(place, ""), orders)
        if attempt.ending != "done":
            raise RuntimeError(f"the undisturbed {step} {attempt.ending}: {attempt.words}")
        attempts[step] = attempt
    own = {stage: attempts[stage if entry == "stages" else entry].operations.get(stage, 0) for stage in STAGES}
    seconds = {step: attempt.seconds for step, attempt in attempts.items()}
    operations = {step: sum(attempt.operations.values()) for step, attempt in attempts.items()}
    return Reference(read_outputs(open_root(place.root), DATASET), seconds, operations, own)


def run_cycle(place: Place, order: Order, reference: Reference) -> Report:
    """Run until all is done, through kills and faults, then judge; ends at the first attempt that fails by itself."""
    with _proxy(place, order) as proxy:
        cycle = _Cycle(place, order, proxy)
        for step in _steps(order.entry):
            if not cycle.finish(step, _draw_kills(order, step, reference)):
                return cycle.report
    judge(place, reference, cycle.events, cycle.report)
    return cycle.report


class _Cycle:
    """A cycle under way: its report so far, and the events of all its attempts."""

    def __init__(self, place: Place, order: Order, proxy: FaultProxy | None) -> None:
        self.report = Report(order.seed, order.entry)
        self.events: list[Event] = []
        self._place = place
        self._order = order
        self._proxy = proxy

    def finish(self, step: str, kills: Iterator[Kill]) -> bool:
        """Try a step until it is done; False where it cannot be."""
        kill = next(kills, None)
        while self.report.attempts < _MOST_ATTEMPTS:
            attempt, faults = self._attempt(step, kill)
            self._count(attempt, faults)
            if attempt.ending == "done":
                return True
            if attempt.ending == "killed" and kill is not None:
                self.report.kills[kill.stage] += 1
                kill = next(kills, None)
            elif attempt.ending == "failed" and faults:
                self.report.endings[_kind_of(attempt.last_line)] += 1
                if kill is not None and self._order.entry != "stages" and kill.stage in attempt.operations:
                    kill = next(kills, None)  # its stage may be over by now
            else:
                told = f"{step} {attempt.ending} by itself (code {attempt.code}): {attempt.words}"
                self.report.failures.append(told)
                return False
        self.report.failures.append(f"{step} did not end in {self.report.attempts} attempts")
        return False

    def _attempt(self, step: str, kill: Kill | None) -> tuple[Attempt, Counter[str]]:
        """One attempt, and the faults that it met."""
        before = self._proxy.counts.copy() if self._proxy else Counter[str]()
        orders = Orders(
            seed=f"{self._order.seed}/{self.report.attempts}",
            rate=self._order.rate,
            folder=str(self._place.folder / f"attempt-{self.report.attempts:03d}"),
            kill_at=kill.at_operation if kill else 0,
            kill_stage=kill.stage if kill and kill.is_within_stage else "",
            spare_intake=self._order.entry == "prefect",
        )
        variables = _environment(self._place, self._proxy.url if self._proxy else "")
        command = _command(self._order.entry, step, self._place)
        after_seconds, from_child = (kill.after_seconds, kill.from_first_child) if kill else (0.0, False)
        attempt = run_attempt(command, variables, orders, after_seconds, from_child)
        faults = Counter(event.what for event in attempt.events if event.event == "fault")
        faults += self._proxy.counts - before if self._proxy else Counter[str]()
        return attempt, faults

    def _count(self, attempt: Attempt, faults: Counter[str]) -> None:
        report = self.report
        report.attempts += 1
        report.faults += faults
        report.seconds += attempt.seconds + attempt.lingered_seconds
        report.lingered_seconds = max(report.lingered_seconds, attempt.lingered_seconds)
        report.failures += [
            f"left alive after {attempt.seconds:.1f} s of {report.seed}: {survivor}" for survivor in attempt.survivors
        ]
        self.events += [*attempt.events, Event("end", attempt.ending, "")]


def _draw_kills(order: Order, step: str, reference: Reference) -> Iterator[Kill]:
    """The kills of a step, stage by stage; each moment is drawn from what can be left to do."""
    draws = random.Random(f"{order.seed}/kills/{step}")
    for stage in (step,) if order.entry == "stages" else (START, *STAGES):
        for number in range(order.kills.get(stage, 0)):
            share = 1 / (1 + number)
            if stage == START:
                yield Kill(stage, after_seconds=draws.uniform(*_START_SECONDS), from_first_child=True)
            elif order.entry != "stages":
                most = max(1, int(reference.own_operations[stage] * share / 2))
                yield Kill(stage, at_operation=draws.randint(1, most), is_within_stage=True)
            elif draws.random() < _TIMED_SHARE:
                yield Kill(stage, after_seconds=draws.uniform(0.05, reference.seconds[stage] * share))
            else:
                most = max(1, int(reference.operations[stage] * share))
                yield Kill(stage, at_operation=draws.randint(1, most))


def _steps(entry: Entry) -> tuple[str, ...]:
    return STAGES if entry == "stages" else (entry,)


def _command(entry: Entry, step: str, place: Place) -> list[str]:
    program = ["-m", "flows.cli", "run"] if entry == "prefect" else ["-m", "tests.chaos.stage"]
    stages = {"stages": [step], "together": list(STAGES), "prefect": []}[entry]
    where = ["--root", place.root, "--dataset", DATASET, "--sources", str(place.world)]
    return [*program, *stages, *where, *settings(place.world, WORKERS)]


def _environment(place: Place, endpoint: str) -> dict[str, str]:
    place.scratch.mkdir(parents=True, exist_ok=True)
    variables = {"TMPDIR": str(place.scratch), "TRITRACK_CACHE": str(place.scratch.with_name("shard-cache"))}
    if place.prefect_home is not None:
        variables["PREFECT_HOME"] = str(place.prefect_home)
    return variables | (s3_variables(endpoint) if endpoint else {})


@contextmanager
def _proxy(place: Place, order: Order) -> Iterator[FaultProxy | None]:
    if not place.endpoint:
        yield None
        return
    with FaultProxy(place.endpoint, order.seed, order.rate) as proxy:
        yield proxy


def _kind_of(line: str) -> str:
    """What an error says without the places that it names, so that equal ones are counted together."""
    return re.sub(r"\(.*|: '.*|s3://.*", "", line)[:80].strip()
