"""Leases: live while their process lives, dead when it is gone, and plans that a collector cannot miss."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import leases
from storage.leases import Lease, live_leases
from storage.processes import is_running, start_time
from storage.protection import collecting, live_work
from storage.root import Root, RootError, open_root

PROJECT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from storage.leases import Lease
from storage.root import open_root
with Lease(open_root(sys.argv[1]), "train", {"key": "k" * 64}) as lease:
    lease.protect(["k" * 64])
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_POLL_SECONDS", 0.02)


def test_a_lease_is_live_in_its_block_and_gone_after_it(root: Root) -> None:
    with Lease(root, "run", {"dataset": "clips", "stage": "track"}) as lease:
        (seen,) = live_leases(root, "run")
        assert seen == lease.record
        assert (seen.pid, seen.facts) == (os.getpid(), {"dataset": "clips", "stage": "track"})
        assert live_leases(root) == [seen]
        assert live_leases(root, "train") == live_leases(root, "gc") == []
        assert lease.is_held
    assert live_leases(root) == []
    assert list(root.walk("state")) == []


def test_an_error_in_the_block_gives_the_lease_back(root: Root) -> None:
    def work() -> None:
        with Lease(root, "run") as lease:
            lease.protect(["a" * 64])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert list(root.walk("state")) == []


def test_the_heartbeat_renews_it_past_its_time_to_live(root: Root) -> None:
    with Lease(root, "run", ttl_seconds=0.3) as lease:
        first = lease.record
        _wait(lambda: datetime.fromisoformat(lease.record.renewed) > _later(first.started, 0.4))
        (seen,) = live_leases(root)
        assert (seen.id, seen.started) == (first.id, first.started)


def test_the_heartbeat_survives_a_store_that_fails_for_a_while(
    root: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class StoreError(Exception):
        """No OSError: each store has its own."""

    failures = iter(range(2))

    def fail(path: str, data: bytes) -> None:
        if next(failures, None) is not None:
            raise StoreError("503")
        write(path, data)

    write = root.write_bytes
    with Lease(root, "run", ttl_seconds=0.3) as lease, caplog.at_level(logging.WARNING):
        first = lease.record.renewed
        with monkeypatch.context() as patch:
            patch.setattr(root, "write_bytes", fail)
            _wait(lambda: lease.record.renewed != first)
    assert caplog.text.count("was not renewed; tried again in 0 s (StoreError: 503)") == 2
    assert live_leases(root) == []


def test_a_lease_that_is_not_renewed_expires(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lease(root, "run", ttl_seconds=0.3) as lease, monkeypatch.context() as patch:
        patch.setattr(Lease, "_write", lambda lease, facts: None)
        _wait(lambda: not lease.is_held)
        assert live_leases(root) == []


def test_what_cannot_be_deleted_is_told_and_does_not_hide_the_work(
    root: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(paths: object) -> int:
        raise OSError("gone away")

    with caplog.at_level(logging.WARNING), Lease(root, "run"):
        monkeypatch.setattr(root, "remove_many", fail)
    assert "could not be deleted; it dies with its time to live (OSError: gone away)" in caplog.text


def test_facts_can_be_changed_under_the_heartbeat(root: Root) -> None:
    with Lease(root, "train", {"key": "k"}, ttl_seconds=0.6) as lease:
        for number in range(20):
            lease.note(number=number)
            assert live_leases(root, "train")[0].facts == {"key": "k", "number": number}


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_killed_holder_is_dead_at_once(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = str(tmp_path / "root") if kind == "local" else request.getfixturevalue("s3_root_url")()
    root = open_root(url)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        (seen,) = live_leases(root, "train")
        assert seen.pid == holder.pid
        assert live_work(root).keys == {"k" * 64}
        holder.kill()
        _wait(lambda: not live_leases(root))  # still a zombie: nobody has waited for it
    assert live_leases(root) == []
    assert not live_work(root).keys
    assert not seen.is_expired


def test_another_machine_container_or_process_is_told_apart(root: Root) -> None:
    with Lease(root, "run") as lease:
        record = lease.record
    gone = dataclasses.replace(record, pid=_dead_pid())
    assert not record.is_dead
    assert gone.is_dead
    assert not dataclasses.replace(gone, host="elsewhere").is_dead
    assert not dataclasses.replace(gone, boot="another boot or container").is_dead
    assert dataclasses.replace(record, process_started=record.process_started - 100).is_dead  # the id was taken over
    elsewhere = dataclasses.replace(record, host="elsewhere", renewed=_later(record.renewed, -61).isoformat())
    assert elsewhere.is_expired
    assert elsewhere.is_dead


def test_processes_are_known_by_id_and_start() -> None:
    started = start_time(os.getpid())
    assert started is not None
    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), started + 60)
    assert start_time(_dead_pid()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\xff", b'{"kind": "run", "id": 5}'])
def test_damaged_leases_count_as_dead(data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = open_root(str(tmp_path / "root"))
    root.write_bytes("state/leases/run-0123456789abcdef.json", data)
    with Lease(root, "run") as lease:
        assert live_leases(root) == [lease.record]
    assert "run-0123456789abcdef.json is damaged" in caplog.text


def test_a_lease_whose_time_has_no_zone_counts_as_dead(root: Root) -> None:
    with Lease(root, "run") as lease:
        record = dataclasses.asdict(lease.record) | {"renewed": "2026-01-01T00:00:00"}
    root.write_bytes(lease.record.path, json.dumps(record).encode())
    assert live_leases(root) == []


def test_leases_come_oldest_first(root: Root) -> None:
    with Lease(root, "train") as first, Lease(root, "train") as second, Lease(root, "train") as third:
        assert [lease.id for lease in live_leases(root)] == [one.record.id for one in (first, second, third)]


def test_plans_protect_their_keys_until_the_lease_ends(root: Root) -> None:
    keys = [digit * 64 for digit in "abcd"]
    with Lease(root, "run") as run, Lease(root, "train", {"key": keys[3], "attempt": "one"}):
        assert live_work(root).keys == {keys[3]}
        run.protect(iter(keys[:2]))
        run.protect([keys[2]])
        work = live_work(root)
        assert work.keys == set(keys)
        assert work.has_run
        assert work.has_writer
        assert len(root.names("state/plans")) == 2
    assert live_work(root).keys == frozenset()
    assert root.names("state/plans") == []


def test_the_plans_of_the_dead_protect_nothing(root: Root) -> None:
    root.write_bytes("state/plans/0123456789abcdef-0.json", json.dumps({"keys": ["a" * 64]}).encode())
    assert live_work(root).keys == frozenset()


def test_a_damaged_plan_of_a_live_lease_is_an_error(root: Root) -> None:
    with Lease(root, "run") as lease:
        root.write_bytes(f"state/plans/{lease.record.id}-0.json", b"{")
        with pytest.raises(RootError, match="wait until the run that wrote it has ended"):
            live_work(root)
        root.remove(f"state/plans/{lease.record.id}-0.json")


def test_a_run_that_plans_waits_for_the_collector(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    def run() -> None:
        with Lease(root, "run") as lease:
            lease.protect(["a" * 64])
            events.append("began")

    with caplog.at_level(logging.INFO), collecting(root, "gc"):
        runner = threading.Thread(target=run)
        runner.start()
        _wait(lambda: live_work(root).keys == {"a" * 64} and "waiting until gc is done" in caplog.text)
        events.append("collected")
    runner.join(30)
    assert events == ["collected", "began"]


def test_the_wait_for_a_collector_can_be_interrupted(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with collecting(root, "gc"):
        monkeypatch.setattr(time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt), Lease(root, "run") as lease:
            lease.protect(["a" * 64])
    assert list(root.walk("state")) == []


def test_a_second_collector_is_refused(root: Root) -> None:
    refused = pytest.raises(RootError, match=r"^gc: repair is under way \(process \d+ on ")
    with collecting(root, "repair"), refused, collecting(root, "gc"):
        pass
    assert live_leases(root) == []


@pytest.mark.parametrize("head_start", [-0.02, 0.0, 0.02])
def test_planner_and_collector_never_miss_each_other(root: Root, head_start: float) -> None:
    """The collector saw the plan, or what the run made of it, or else the run begins once the collector has ended."""
    key, start, events = "a" * 64, threading.Barrier(2), list[str]()

    def run() -> None:
        with Lease(root, "run") as lease:
            start.wait()
            time.sleep(max(0.0, -head_start))
            lease.protect([key])
            events.append("began")
            root.write_bytes("datasets/recorded", b"")

    runner = threading.Thread(target=run)
    runner.start()
    start.wait()
    time.sleep(max(0.0, head_start))
    with collecting(root, "gc"):
        is_kept = key in live_work(root).keys or root.exists("datasets/recorded")
        time.sleep(0.05)
        events.append("collected")
    runner.join(30)
    assert is_kept or events == ["collected", "began"]


def _later(time_text: str, seconds: float) -> datetime:
    return datetime.fromisoformat(time_text).astimezone(UTC) + timedelta(seconds=seconds)


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
