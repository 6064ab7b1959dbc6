"""The governor, on a clock of its own: budgets, pauses, circuits, and what is left for later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from storage.keys import KeyDocument, Recipe
from storage.root import Root
from tasks.batch import Outcome, Unit, failed
from tasks.download.config import DownloadConfig
from tasks.download.governor import Governor
from tasks.download.hosts import Site
from tasks.records import Dropped

START = 1_000_000.0

Answer = Callable[[str, int, float], Dropped | None]
"""What a host answers: (host, how many it was asked before, now) to why it gave nothing, or None for a video."""


class Clock:
    """Stands in for the governor's `time`."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now

    monotonic = time


class Drive:
    """Plays the pool: `width` units at once, each of which takes `seconds`."""

    def __init__(self, clock: Clock, answer: Answer, width: int = 8, seconds: float = 1.0) -> None:
        self.clock, self.answer, self.width, self.seconds = clock, answer, width, seconds
        self.asked: list[tuple[float, str]] = []
        self.most: Counter[str] = Counter()

    def run(self, governor: Governor, units: Sequence[Unit]) -> dict[int, Outcome]:
        """The outcomes by index; a unit that never began has none."""
        governor.offer(units)
        flying: list[tuple[float, int]] = []
        outcomes: dict[int, Outcome] = {}
        more = True
        while more or flying:
            pause: float | None = None
            while more and pause is None and len(flying) < self.width:
                given = governor.take()
                if given is None:
                    more = False
                elif isinstance(given, float):
                    pause = given
                else:
                    host = units[given].host
                    self.asked.append((self.clock.now, host))
                    flying.append((self.clock.now + self.seconds, given))
                    running = Counter(units[index].host for _, index in flying)
                    self.most |= running
            if not flying and pause is not None:
                assert pause < 1e6, "it waits for the end of something that is not under way"
                self.clock.now += pause
            if flying:
                end, index = min(flying)
                if pause is not None and self.clock.now + pause < end:
                    self.clock.now += pause
                    continue
                flying.remove((end, index))
                self.clock.now = end
                outcome = self._outcome(governor, units, index)
                if outcome is not None:
                    outcomes[index] = outcome
                more = True
        return outcomes

    def _outcome(self, governor: Governor, units: Sequence[Unit], index: int) -> Outcome | None:
        unit = units[index]
        before = sum(host == unit.host for _, host in self.asked) - 1
        dropped = self.answer(unit.host, before, self.clock.now)
        outcome = failed(unit, dropped) if dropped else Outcome(unit.item, unit.key, counts={"bytes": 10})
        return governor.judge(index, outcome, dropped)


def _units(number: int, host: str = "a.example") -> list[Unit]:
    return [
        Unit(f"{host}/{n}", KeyDocument(Recipe("download", 1), {"n": n, "host": host}), "none:none", (), host=host)
        for n in range(number)
    ]


def _always(host: str, before: int, now: float) -> None:
    return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tasks.download.governor.time", made)
    return made


def test_hosts_are_asked_side_by_side_and_none_by_too_many_at_once(root: Root, clock: Clock) -> None:
    drive = Drive(clock, _always)
    units = [*_units(10, "a.example"), *_units(10, "b.example"), *_units(10, "")]
    outcomes = drive.run(Governor(root, DownloadConfig(per_host_connections=2)), units)
    assert len(outcomes) == 30
    assert drive.most["a.example"] == drive.most["b.example"] == 2
    assert drive.most[""] > 2, "a path or an object asks no host"


def test_the_hour_s_budget_is_shared_and_what_it_does_not_hold_is_left(root: Root, clock: Clock) -> None:
    config = DownloadConfig(per_host_hour=20)
    governors = [Governor(root, config), Governor(root, config)]
    done = [len(Drive(clock, _always).run(governor, _units(15))) for governor in governors]
    assert done == [15, 5]
    assert "20 sources of this hour are spent" in governors[1].left(_units(1)[0])
    assert governors[1].refusals == set(), "a budget is no refusal"
    assert governors[1].come_back == pytest.approx(START + 3600, abs=60)
    assert root.names("state/hosts"), "the state lies in the root"
    clock.now = governors[1].come_back + 1
    assert len(Drive(clock, _always).run(Governor(root, config), _units(10))) == 10


def test_no_hour_of_many_runs_holds_more_than_the_budget(root: Root, clock: Clock) -> None:
    drive = Drive(clock, _always)
    for _ in range(30):
        drive.run(Governor(root, DownloadConfig(per_host_hour=20)), _units(9))
        clock.now += 300
    times = [time for time, _ in drive.asked]
    assert max(sum(start - 3600 < time <= start for time in times) for start in times) <= 20


def test_pauses_between_two_sources_of_a_host_are_jittered(root: Root, clock: Clock) -> None:
    drive = Drive(clock, _always, seconds=0.1)
    drive.run(Governor(root, DownloadConfig(pause_seconds=10)), _units(20))
    times = [time for time, _ in drive.asked]
    gaps = [after - before for before, after in pairwise(times)]
    assert all(5 <= gap <= 15.1 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > 10


def test_a_known_site_is_asked_as_it_bears(root: Root, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.download.hosts.SITES", {"a.example": Site(per_hour=3, connections=1, pause_seconds=2)})
    drive = Drive(clock, _always)
    assert len(drive.run(Governor(root, DownloadConfig()), _units(5))) == 3
    assert drive.most["a.example"] == 1


@pytest.mark.parametrize("reason", ["bot_check", "rate_limited"])
def test_a_refusal_opens_the_circuit_and_burns_nothing(root: Root, clock: Clock, reason: str) -> None:
    def answer(host: str, before: int, now: float) -> Dropped | None:
        return Dropped("transient", reason, "no more of you") if host == "a.example" and before >= 3 else None

    drive = Drive(clock, answer)
    governor = Governor(root, DownloadConfig(per_host_connections=1))
    units = [*_units(50, "a.example"), *_units(20, "b.example")]
    outcomes = drive.run(governor, units)
    kept = [outcome for outcome in outcomes.values() if not outcome.pending]
    assert len(kept) == 3 + 20
    assert all(outcome.failure is None for outcome in outcomes.values()), "what met the refusal is pending too"
    assert sum(host == "a.example" for _, host in drive.asked) == 4
    assert "no more of you; run again after" in governor.left(units[40])
    assert governor.come_back >= clock.now + 800
    assert governor.refusals == {governor.left(units[40])}


def test_an_answer_from_before_a_refusal_reopens_nothing(root: Root, clock: Clock) -> None:
    governor = Governor(root, DownloadConfig(per_host_connections=3))
    units = _units(10)
    governor.offer(units)
    first, second, third = (governor.take() for _ in range(3))
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert isinstance(third, int)
    refusal = Dropped("transient", "rate_limited", "HTTP Error 429", retry_after=7200.0)
    assert governor.judge(first, failed(units[first], refusal), refusal)
    until = governor.come_back
    governor.judge(second, Outcome(units[second].item, units[second].key), None)
    clock.now += 1
    assert governor.judge(third, failed(units[third], refusal), refusal)
    assert governor.come_back == until
    assert governor.take() is None


def test_a_second_worker_sees_an_open_circuit(root: Root, clock: Clock) -> None:
    refuse = Drive(clock, lambda host, before, now: Dropped("transient", "rate_limited", "HTTP Error 429"))
    refuse.run(Governor(root, DownloadConfig()), _units(1))
    other = Drive(clock, _always)
    assert other.run(Governor(root, DownloadConfig()), _units(5)) == {}
    assert other.asked == []


def test_a_short_retry_after_is_waited_for_and_a_single_source_tried_first(root: Root, clock: Clock) -> None:
    closed = START + 20

    def answer(host: str, before: int, now: float) -> Dropped | None:
        if before < 4:  # those under way when it closes
            return Dropped("transient", "rate_limited", "HTTP Error 429", retry_after=15.0)
        return None

    drive = Drive(clock, answer)
    outcomes = drive.run(Governor(root, DownloadConfig(per_host_connections=4)), _units(12))
    assert len(outcomes) == 12
    assert all(outcome.failure is None and not outcome.pending for outcome in outcomes.values())
    times = sorted(time for time, _ in drive.asked)
    assert times[3] == START
    assert times[4] >= START + 15, "nobody asked while it wanted to be left alone"
    assert times[5] > times[4], "one first"
    assert times[4] < closed


def test_a_host_that_only_ever_says_wait_is_left(root: Root, clock: Clock) -> None:
    drive = Drive(clock, lambda host, before, now: Dropped("transient", "server_error", "HTTP 503", retry_after=1.0))
    governor = Governor(root, DownloadConfig(per_host_connections=1))
    outcomes = drive.run(governor, _units(5))
    assert all(outcome.pending for outcome in outcomes.values())
    assert len(drive.asked) < 12
    assert governor.left(_units(5)[4])


def test_a_long_retry_after_is_not_waited_for(root: Root, clock: Clock) -> None:
    drive = Drive(clock, lambda host, before, now: Dropped("transient", "server_error", "HTTP 503", retry_after=7200.0))
    governor = Governor(root, DownloadConfig(per_host_connections=1))
    outcomes = drive.run(governor, _units(5))
    assert [outcome.pending != "" for outcome in outcomes.values()] == [True]
    assert clock.now < START + 60
    assert governor.come_back >= START + 7200


def test_a_silent_host_is_left_after_a_few_and_those_count_as_tried(root: Root, clock: Clock) -> None:
    drive = Drive(clock, lambda host, before, now: Dropped("transient", "timeout", "timed out"))
    governor = Governor(root, DownloadConfig(per_host_connections=1, max_wait_seconds=30))
    outcomes = drive.run(governor, _units(40))
    assert len(outcomes) == 5
    assert all(outcome.failure and outcome.failure.reason == "timeout" for outcome in outcomes.values())
    assert "timeout" in governor.left(_units(40)[20])


def test_single_failures_of_a_host_close_nothing(root: Root, clock: Clock) -> None:
    drive = Drive(clock, lambda host, before, now: Dropped("transient", "timeout", "timed out") if before % 4 else None)
    assert len(drive.run(Governor(root, DownloadConfig(per_host_connections=1)), _units(40))) == 40


def test_a_blocked_host_is_never_asked(root: Root, clock: Clock) -> None:
    drive = Drive(clock, _always)
    governor = Governor(root, DownloadConfig(), blocked={"a.example": "needs a JavaScript runtime"})
    units = [*_units(5), *_units(5, "b.example")]
    assert sorted(drive.run(governor, units)) == [5, 6, 7, 8, 9]
    assert governor.left(units[0]) == "a.example: needs a JavaScript runtime"
    assert governor.left(units[9]) == ""


def test_a_budget_or_a_full_disk_stops_everything(root: Root, clock: Clock) -> None:
    left = 4

    def budget(outcome: Outcome | None) -> str:
        nonlocal left
        left -= outcome is not None
        return "the budget is spent" if left <= 0 else ""

    units = [*_units(20), *_units(20, "b.example")]
    governor = Governor(root, DownloadConfig(), budget)
    assert len(Drive(clock, _always, width=1).run(governor, units)) == 4
    assert governor.left(units[30]) == "the budget is spent"
    full = Governor(root, DownloadConfig())
    full.offer(units)
    first = full.take()
    assert isinstance(first, int)
    full.judge(first, Outcome("item", "key", pending="no space left"), None)
    assert full.take() is None
    assert full.left(units[1]) == "no space left"


def test_what_is_found_in_storage_spends_no_budget(root: Root, clock: Clock) -> None:
    class Found(Drive):
        def _outcome(self, governor: Governor, units: Sequence[Unit], index: int) -> Outcome | None:
            return governor.judge(index, Outcome(units[index].item, units[index].key, cached=True), None)

    assert len(Found(clock, _always).run(Governor(root, DownloadConfig(per_host_hour=3)), _units(30))) == 30
