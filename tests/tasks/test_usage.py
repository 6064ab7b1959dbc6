"""What a unit costs its process: memory as it was during the unit, store traffic, and what its children took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.root import open_root
from storage.traffic import traffic
from tasks.pool import Call, WorkerPool
from tasks.usage import Meter, Usage

MEBIBYTE = 1 << 20


def test_what_is_read_of_a_store_is_counted(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    root.write_bytes("a/file", bytes(5000))
    meter = Meter()
    root.read_bytes("a/file")
    root.read_range("a/file", 10, 20)
    root.digest("a/file")
    assert root.local_path("a/file")
    assert root.local_path("a") and root.local_path("b")  # noqa: PT018  a folder, and what is not there: neither is read
    used = meter.read()
    assert used.bytes_in == 5000 + 20 + 5000 + 5000
    assert used.requests == 2, "a local digest asks nobody"
    assert used.started > 0


def test_the_counts_never_fall(tmp_path: Path) -> None:
    before = traffic()
    assert traffic().since(before) == (0, 0)
    open_root(str(tmp_path)).exists("nothing")
    assert traffic().since(before).requests == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark is the process's own")
def test_the_peak_is_that_of_the_unit_and_not_of_the_one_before() -> None:
    with WorkerPool(1) as pool:
        calls = [Call("tests.workers:fill_memory", (size * MEBIBYTE,)) for size in (1, 200, 1)]
        small, large, after = (reply.usage for _, reply in pool.run(calls))
    assert small and large and after  # noqa: PT018
    assert large.peak_bytes > small.peak_bytes + 190 * MEBIBYTE
    assert after.peak_bytes < large.peak_bytes - 150 * MEBIBYTE


_PARENT = f"""
import subprocess, sys
from tasks.usage import Meter
meter = Meter()
print(meter.read().peak_bytes)
subprocess.run([sys.executable, "-c", "bytearray({200 * MEBIBYTE}).count(1)"], check=True)
print(meter.read().peak_bytes)
print(Meter().read().peak_bytes)
"""


def test_a_child_that_took_more_is_seen_by_the_unit_that_waited_for_it() -> None:
    """In a process of its own: the mark of a process's children never falls."""
    told = subprocess.run([sys.executable, "-c", _PARENT], check=True, capture_output=True, text=True)
    before, waited, after = map(int, told.stdout.split())
    assert waited > 200 * MEBIBYTE
    assert max(before, after) < 150 * MEBIBYTE


def test_units_side_by_side_share_all_but_memory() -> None:
    assert Usage(1.0, 8.0, 100, 80, 5).shared(4) == Usage(1.0, 2.0, 100, 20, 2)


def test_a_call_that_is_dropped_or_limited_tells_its_cost() -> None:
    with WorkerPool(1) as pool:
        ((_, reply),) = pool.run([Call("tests.workers:drop", ("gone",))])
    assert reply.usage is not None
    assert reply.usage.peak_bytes > MEBIBYTE
