"""The worker pool: replies, logs, crashes, and the end of its parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tasks.pool import Call, WorkerPool


def test_replies_carry_their_index_and_their_logs(caplog: pytest.LogCaptureFixture) -> None:
    with WorkerPool(2) as pool, caplog.at_level(logging.INFO, "tasks"):
        replies = dict(pool.run([Call("tests.workers:double", (n,)) for n in range(5)]))
    assert {index: reply.value for index, reply in replies.items()} == {n: 2 * n for n in range(5)}
    assert sorted(caplog.messages) == [f"doubled {n}" for n in range(5)]


def test_a_drop_is_a_reply_and_keeps_its_logs(caplog: pytest.LogCaptureFixture) -> None:
    with WorkerPool(1) as pool, caplog.at_level(logging.INFO, "tasks"):
        ((_, reply),) = pool.run([Call("tests.workers:drop", ("gone",))])
    assert reply.dropped is not None
    assert (reply.dropped.kind, reply.dropped.reason, reply.dropped.words) == ("permanent", "asked_to", "gone")
    assert caplog.messages == ["about to drop"]


def test_a_dead_worker_costs_nothing_where_a_second_try_works(tmp_path: Path) -> None:
    calls = [Call("tests.workers:double", (n,)) for n in range(4)]
    calls.insert(1, Call("tests.workers:die", (str(tmp_path / "marker"), 1)))
    with WorkerPool(2) as pool:
        replies = dict(pool.run(calls))
    assert [replies[index].value for index in range(5)] == [0, "survived", 2, 4, 6]


def test_a_worker_killed_twice_costs_one_item(tmp_path: Path) -> None:
    calls = [Call("tests.workers:double", (n,)) for n in range(4)]
    calls.insert(2, Call("tests.workers:die", (str(tmp_path / "marker"), 99)))
    with WorkerPool(2) as pool:
        replies = dict(pool.run(calls))
    poison = replies[2].dropped
    assert poison is not None
    assert (poison.kind, poison.reason) == ("poison", "worker_died")
    assert [replies[index].value for index in (0, 1, 3, 4)] == [0, 2, 4, 6]


def test_a_programming_error_propagates() -> None:
    with WorkerPool(1) as pool, pytest.raises(ZeroDivisionError, match="a programming error"):
        list(pool.run([Call("tests.workers:fail", ())]))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from tasks.pool import Call, WorkerPool
        if __name__ == "__main__":
            with WorkerPool(2) as pool:
                list(pool.run([Call("tests.workers:sleep_and_tell", (sys.argv[1], 60.0))] * 2))
        """
    )
    script = tmp_path / "parent.py"
    script.write_text(program)
    told = tmp_path / "told"
    told.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script), str(told)], env=environment) as parent:
        _wait_until(lambda: len(list(told.iterdir())) == 2)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 2
        os.kill(parent.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


def _wait_until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.05)
