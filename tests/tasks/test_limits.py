"""Limits of worker processes: each is reached by one item, and costs that item alone."""

from __future__ import annotations

import sys
import time

import pytest

from tasks.limits import Limits, OutOfTime, deadline
from tasks.pool import Call, WorkerPool
from tasks.records import Dropped

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits of memory and CPU time are Linux's")

_OTHERS = [Call("tests.workers:double", (n,)) for n in range(4)]


def _with_others(limits: Limits, call: Call) -> Dropped:
    """What the call ended as, among four that must all be answered."""
    with WorkerPool(2, limits) as pool:
        replies = dict(pool.run([*_OTHERS[:2], call, *_OTHERS[2:]]))
    assert [replies[index].value for index in (0, 1, 3, 4)] == [0, 2, 4, 6]
    dropped = replies[2].dropped
    assert dropped is not None
    return dropped


@linux
def test_memory() -> None:
    dropped = _with_others(Limits(memory_bytes=200_000_000), Call("tests.workers:fill_memory", (1 << 30,)))
    assert (dropped.kind, dropped.reason) == ("poison", "memory_limit")
    assert "200,000,000 bytes" in dropped.words


@linux
def test_cpu_time() -> None:
    dropped = _with_others(Limits(cpu_seconds=1.0), Call("tests.workers:burn", ()))
    assert (dropped.kind, dropped.reason) == ("poison", "cpu_limit")


@linux
def test_cpu_time_is_counted_for_each_call() -> None:
    with WorkerPool(1, Limits(cpu_seconds=2.0)) as pool:
        replies = list(pool.run([Call("tests.workers:burn_for", (0.9,)) for _ in range(4)]))
    assert [reply.dropped for _, reply in replies] == [None] * 4


def test_time_of_a_call_that_waits() -> None:
    dropped = _with_others(Limits(seconds=0.5), Call("time:sleep", (3600.0,)))
    assert (dropped.kind, dropped.reason) == ("transient", "time_limit")


def test_a_worker_that_an_alarm_interrupted_takes_no_other_call() -> None:
    """It may have been in the middle of an import, or have held a lock."""
    calls = [Call("os:getpid", ()), Call("time:sleep", (3600.0,)), Call("os:getpid", ())]
    with WorkerPool(1, Limits(seconds=1.0)) as pool:
        before, _, after = (reply.value for _, reply in pool.run(calls))
    assert before != after


@linux
def test_a_worker_that_is_long_in_dying_is_told_by_what_killed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are spawned, they are seen to end before they have an exit code."""
    monkeypatch.setattr("tasks.pool._LONGEST_FOLDER", 0)
    dropped = _with_others(Limits(cpu_seconds=60.0, seconds=60.0), Call("tests.workers:die_slowly", ()))
    assert (dropped.kind, dropped.reason) == ("poison", "cpu_limit")


def test_time_of_a_call_that_no_alarm_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.pool._GRACE_SECONDS", 2.0)  # and that is how long a worker may take to start
    dropped = _with_others(Limits(seconds=2.0), Call("tests.workers:sleep_deaf", (3600.0,)))
    assert (dropped.kind, dropped.reason) == ("transient", "time_limit")


def test_size_of_files(tmp_path: object) -> None:
    with WorkerPool(1, Limits(file_bytes=1000)) as pool, pytest.raises(OSError, match="too large"):
        list(pool.run([Call("tests.workers:write_file", (str(tmp_path), 2000))]))


def test_an_alarm_goes_through_handlers_of_errors_and_is_taken_back() -> None:
    def sleep_on() -> None:
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue

    with pytest.raises(OutOfTime), deadline(0.05):
        sleep_on()
    with deadline(0.05):
        pass
    time.sleep(0.1)
