"""Two attempts at one training: one trains, the other waits for what it commits or goes on where it ended."""

from __future__ import annotations

import dataclasses
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from storage.keys import JSON, KeyDocument, Recipe
from storage.layout import attempts_document_path
from storage.leases import Lease, live_leases
from storage.manifests import Manifest, commit, read_manifest
from storage.root import Root
from tasks.records import no_progress
from tasks.train import turn
from tasks.train.attempts import checkpoint_paths
from tasks.train.config import TrainConfig
from tasks.train.launch import train_network
from tasks.train.turn import wait_for_turn
from tests.tasks.train.conftest import MakeTriplets
from tests.tasks.train.test_train_launch import _document, _parent_process, _wait

Parent = subprocess.Popen[str]

PROJECT = Path(__file__).resolve().parents[3]
DOCUMENT = KeyDocument(Recipe("train", 1))
HOLDER = """
import sys, time
from storage.leases import Lease
from storage.root import open_root
from tasks.records import no_progress
from tasks.train.turn import wait_for_turn
root = open_root(sys.argv[1])
with Lease(root, "train", {"key": sys.argv[2], "attempt": "holder"}) as lease:
    wait_for_turn(root, lease, sys.argv[2], no_progress)
    print("trains", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_POLL_SECONDS", 0.02)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def ended_with_the_test() -> Iterator[Callable[[Parent], Parent]]:
    """Takes a process; it is killed after the test, however that went, and its ranks die with it."""
    parents: list[Parent] = []

    def take(parent: Parent) -> Parent:
        parents.append(parent)
        return parent

    yield take
    for parent in parents:
        parent.kill()
        parent.wait()


def test_a_lone_attempt_trains_at_once_and_says_so(root: Root) -> None:
    with _attempt(root) as lease, Lease(root, "train", {"key": "another", "attempt": "x", "trains": True}):
        assert wait_for_turn(root, lease, DOCUMENT.key, no_progress) is None
        assert live_leases(root, "train")[0].facts["trains"] is True


def test_a_later_attempt_gets_what_the_earlier_one_commits(root: Root) -> None:
    with _attempt(root, 0) as first, _attempt(root, 1) as second:
        assert wait_for_turn(root, first, DOCUMENT.key, no_progress) is None
        waiting = _Waiting(root, second)
        assert f"process {first.record.pid} on " in waiting.note
        manifest = commit(root, DOCUMENT, {"weights.bin": b"w"})
        assert waiting.result() == manifest


def test_later_attempts_go_on_one_by_one_when_earlier_ones_end(root: Root) -> None:
    with ExitStack() as first, ExitStack() as second, _attempt(root, 2) as third:
        first.enter_context(_attempt(root, 0))
        waiting = [_Waiting(root, second.enter_context(_attempt(root, 1))), _Waiting(root, third)]
        first.close()
        assert waiting[0].result() is None
        assert not waiting[1].is_over
        second.close()
        assert waiting[1].result() is None


def test_an_older_attempt_that_is_late_waits_for_the_one_that_trains(root: Root) -> None:
    with ExitStack() as younger:
        assert wait_for_turn(root, younger.enter_context(_attempt(root, 1)), DOCUMENT.key, no_progress) is None
        with _attempt(root, 0) as late:
            waiting = _Waiting(root, late)
            assert not waiting.is_over
            younger.close()
            assert waiting.result() is None


def test_the_younger_one_steps_back_where_an_older_one_appears_between_its_looks(root: Root) -> None:
    with ExitStack() as older, _attempt(root, 1) as younger:
        entered: list[Lease] = []

        class Late(Lease):
            """Enters the older attempt just before the younger one says that it trains."""

            def note(self, **facts: JSON) -> None:
                if not entered:
                    entered.append(older.enter_context(_attempt(root, 0)))
                super().note(**facts)

        younger.__class__ = Late
        waiting = _Waiting(root, younger)
        assert not any(lease.facts.get("trains") for lease in live_leases(root, "train"))
        assert wait_for_turn(root, entered[0], DOCUMENT.key, no_progress) is None
        assert not waiting.is_over
        older.close()
        assert waiting.result() is None


def test_of_many_racers_one_trains_at_a_time(root: Root) -> None:
    start, training, most = threading.Barrier(5), [0], [0]

    def race() -> None:
        start.wait()
        with _attempt(root) as lease:
            wait_for_turn(root, lease, DOCUMENT.key, no_progress)
            training[0] += 1
            most[0] = max(most[0], training[0])
            time.sleep(0.01)
            training[0] -= 1

    racers = [threading.Thread(target=race) for _ in range(5)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert most == [1]


def test_machines_that_train_together_do_not_wait_for_each_other(root: Root) -> None:
    with (
        _attempt(root, 0, meeting="node0:29500") as first,
        _attempt(root, 1) as alone,
        _attempt(root, 2, meeting="node0:29500") as second,
        _attempt(root, 3, meeting="node7:29500") as other,
    ):
        assert wait_for_turn(root, first, DOCUMENT.key, no_progress) is None
        waiting = [_Waiting(root, alone), _Waiting(root, other)]
        assert wait_for_turn(root, second, DOCUMENT.key, no_progress) is None, "though one alone is older"
        manifest = commit(root, DOCUMENT, {"weights.bin": b"w"})
        assert [one.result() for one in waiting] == [manifest] * 2


def test_machines_wait_for_one_that_trains_alone(root: Root) -> None:
    with ExitStack() as alone, _attempt(root, 1, meeting="m:1") as first, _attempt(root, 2, meeting="m:1") as second:
        assert wait_for_turn(root, alone.enter_context(_attempt(root, 0)), DOCUMENT.key, no_progress) is None
        waiting = [_Waiting(root, first), _Waiting(root, second)]
        assert not any(one.is_over for one in waiting)
        alone.close()
        assert [one.result() for one in waiting] == [None, None]


def test_the_wait_can_be_interrupted(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with _attempt(root):
        with pytest.raises(KeyboardInterrupt), _attempt(root, 1) as second:
            wait_for_turn(root, second, DOCUMENT.key, interrupt)
        assert len(live_leases(root)) == 1


def test_a_killed_holder_is_not_waited_for(root: Root) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, root.url, DOCUMENT.key], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert holder.stdout is not None
    with holder, holder.stdout, _attempt(root) as second:
        assert holder.stdout.readline() == "trains\n"
        waiting = _Waiting(root, second)
        assert f"process {holder.pid} on " in waiting.note
        holder.send_signal(signal.SIGKILL)
        assert waiting.result() is None


def test_a_second_run_waits_and_goes_on_where_the_first_was_killed(
    root: Root,
    make_triplets: MakeTriplets,
    small_config: TrainConfig,
    caplog: pytest.LogCaptureFixture,
    ended_with_the_test: Callable[[Parent], Parent],
) -> None:
    triplets = make_triplets(("a", "b", "c"))
    config = small_config.model_copy(update={"steps": 100_000, "checkpoint_every_steps": 5, "hard_after_step": 20})
    document = _document("both", config, triplets)
    first = ended_with_the_test(_parent_process(root, triplets, config, document))
    _wait(lambda: bool(checkpoint_paths(root, document.key)) or first.poll() is not None)
    assert first.poll() is None, first.communicate()[1]
    notes: list[str] = []

    def watch(done: int, total: int, note: str = "") -> None:
        notes.append(note)
        if total:
            raise KeyboardInterrupt  # it trains: enough
        if len(notes) == 1:
            own = [child.cmdline() for child in psutil.Process().children()]
            assert not any("tasks.train.agent" in command for command in own), "no rank while it waits"
            first.send_signal(signal.SIGKILL)

    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        train_network(root, triplets, config, document, progress=watch)
    first.communicate()
    assert notes[0].startswith(f"waits for another attempt at this training (process {first.pid} on ")
    assert "resumed after step" in caplog.text
    assert root.exists(attempts_document_path("train", document.key))
    assert live_leases(root) == []


def test_two_runs_at_once_end_with_one_training(
    root: Root,
    make_triplets: MakeTriplets,
    small_config: TrainConfig,
    ended_with_the_test: Callable[[Parent], Parent],
) -> None:
    triplets = make_triplets(("a", "b", "c"))
    document = _document("twice", small_config, triplets)
    first = ended_with_the_test(_parent_process(root, triplets, small_config, document))
    _wait(lambda: bool(live_leases(root, "train")) or first.poll() is not None)
    notes: list[str] = []
    manifest = train_network(
        root, triplets, small_config, document, progress=lambda done, total, note="": notes.append(note)
    )
    words = first.communicate()[1]
    assert first.returncode == 0, words
    assert notes
    assert all(note.startswith("waits for") for note in notes)
    assert manifest == read_manifest(root, "train", document.key)
    assert root.names(f"train/{document.key}/attempts") == []
    assert list(root.walk("state")) == []


@contextmanager
def _attempt(root: Root, age: int = 0, **facts: JSON) -> Iterator[Lease]:
    """A live attempt at DOCUMENT; those with a lower `age` count as older, and those of other processes first."""
    lease = Lease(root, "train", {"key": DOCUMENT.key, "attempt": "one", **facts})
    lease.record = dataclasses.replace(lease.record, started=f"2999-01-01T00:00:0{age}.000000+00:00")
    with lease:
        yield lease


class _Waiting:
    """An attempt that waits for its turn in a thread; made once it has told for whom it waits."""

    def __init__(self, root: Root, lease: Lease) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._told = threading.Event()
        self._end = self._pool.submit(wait_for_turn, root, lease, DOCUMENT.key, self._tell)
        assert self._told.wait(30)

    def _tell(self, done: int, total: int, note: str = "") -> None:
        self.note = note
        self._told.set()

    @property
    def is_over(self) -> bool:
        return bool(wait([self._end], timeout=0.1).done)

    def result(self) -> Manifest | None:
        """What the wait ended with."""
        self._pool.shutdown(wait=False)
        return self._end.result(30)
