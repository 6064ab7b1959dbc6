"""The claim on a refresh: one of many that start at once, and nobody shut out by the dead."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.claim import claim_refresh
from storage.leases import Lease, LeaseRecord
from storage.root import Root, open_root
from storage.sealing import seal

_memory_roots = itertools.count(1)


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """An empty root, on disk and in memory."""
    return open_root(str(tmp_path / "root") if request.param == "local" else f"memory://claims-{next(_memory_roots)}")


def test_the_second_learns_who_was_first(root: Root) -> None:
    with Lease(root, "run") as first, Lease(root, "run") as second:
        assert claim_refresh(root, first, "a") is None
        assert claim_refresh(root, first, "a") is None, "it holds its own claim"
        holder = claim_refresh(root, second, "a")
        assert holder is not None
        assert holder.id == first.record.id
        assert claim_refresh(root, second, "b") is None, "another data set is another claim"


def test_the_claim_ends_with_its_lease(root: Root) -> None:
    with Lease(root, "run") as first:
        assert claim_refresh(root, first, "a") is None
    with Lease(root, "run") as second:
        assert claim_refresh(root, second, "a") is None


def test_the_claim_of_a_killed_holder_is_taken_over(root: Root) -> None:
    with Lease(root, "run") as lease:
        dead = replace(lease.record, id="0" * 16, process_started=1.0)
        root.write_bytes(dead.path, json.dumps(asdict(dead)).encode())
        root.write_bytes("state/refresh/a/1.json", seal({"lease": dead.id, "schema": 1, "writer": "x"}))
        assert claim_refresh(root, lease, "a") is None
        root.remove(dead.path)


@pytest.mark.parametrize("attempt", range(3))
def test_of_many_that_start_at_once_one_runs(root: Root, attempt: int) -> None:
    with ExitStack() as stack:
        leases = [stack.enter_context(Lease(root, "run")) for _ in range(6)]
        holders: dict[str, LeaseRecord | None] = {}
        start = threading.Barrier(len(leases))

        def claim(lease: Lease) -> None:
            start.wait()
            holders[lease.record.id] = claim_refresh(root, lease, f"a{attempt}")

        threads = [threading.Thread(target=claim, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [lease for lease, holder in holders.items() if holder is None]
        assert len(winners) == 1
        assert {holder.id for holder in holders.values() if holder} == set(winners)
