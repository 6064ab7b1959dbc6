"""Leases: a record under `state/leases/` that says who is at work now, renewed while its process lives.

Beside a lease lie its plans (`state/plans/<lease id>-<n>.json`), the keys of the units that its holder is about
to make or use. `gc` and `fsck` leave alone what live leases name.

The race between a run and a collector is closed as in Dekker's algorithm: each first writes, then looks. A
collector writes its "gc" lease, then reads the plans, then removes; a run writes its plan, then waits for those
who hold a "gc" lease. So the collector sees the plan, or the run sees the collector, or both.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from storage.keys import JSON
from storage.processes import boot_identity, host_name, is_running, start_time
from storage.root import Root

LeaseKind = Literal["run", "train", "gc"]

TTL_SECONDS = 60.0
LEASES, PLANS = "state/leases", "state/plans"
_RENEWALS_A_TTL = 3
_POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseRecord:
    """Who holds a lease, and since when (ISO times, UTC).

    `boot` is `boot_identity()`, `process_started` the seconds from that boot; `facts` say what is worked on.
    """

    kind: LeaseKind
    id: str
    host: str
    boot: str
    pid: int
    process_started: float
    started: str
    renewed: str
    ttl_seconds: float = TTL_SECONDS
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{LEASES}/{self.kind}-{self.id}.json"

    @property
    def rank(self) -> tuple[str, str]:
        """Sorts leases, the oldest first."""
        return self.started, self.id

    @property
    def holder(self) -> str:
        return f"process {self.pid} on {self.host}, at it since {self.started[:19]}Z"

    @property
    def is_expired(self) -> bool:
        """Whether more than the time to live has passed since the last renewal, by this machine's clock."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.renewed)).total_seconds() > self.ttl_seconds

    @property
    def is_dead(self) -> bool:
        """Whether it has expired, or its holder ran on this machine and is gone."""
        ran_here = (self.host, self.boot) == (host_name(), boot_identity())
        return self.is_expired or (ran_here and not is_running(self.pid, self.process_started))


class Lease:
    """`with Lease(root, "run", facts={...}) as lease:` holds a lease for as long as the block runs.

    A daemon thread renews it every third of `ttl_seconds`; a renewal that fails is logged and tried again at
    its next turn. The lease and its plans are deleted at the end of the block; what cannot be deleted then
    dies with its time to live.

    Whether a lease has expired is judged by the reader's clock against the time that the holder wrote. Clocks
    that differ by less than two thirds of the time to live (40 s) do no harm. A reader whose clock is further
    ahead takes a live holder for dead: then two trainings of one unit run (the first to commit stands), or a
    collector removes what a run has planned and what is older than its grace. A reader whose clock is behind
    waits that much longer for a dead holder. On one machine the process itself is asked, so that a killed
    holder is dead at once, whatever the clocks.
    """

    def __init__(
        self,
        root: Root,
        kind: LeaseKind,
        facts: Mapping[str, JSON] | None = None,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        now, pid = _now(), os.getpid()
        started = start_time(pid)
        assert started is not None, "this process runs"
        self._root = root
        self.record = LeaseRecord(
            kind, secrets.token_hex(8), host_name(), boot_identity(), pid, started, now, now, ttl_seconds, facts or {}
        )
        self._plans: list[str] = []
        self._ended = threading.Event()
        # One thread makes every write, one after the other; its futures hold whatever the store raises.
        self._writes = ThreadPoolExecutor(1, thread_name_prefix=f"lease-{kind}")
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat-{kind}", daemon=True)

    def __enter__(self) -> Self:
        self._write({})
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heart.join()
        gone = self._writes.submit(self._root.remove_many, [*self._plans, self.record.path])
        self._writes.shutdown(wait=False)
        self._warn(gone, "could not be deleted; it dies with its time to live")

    @property
    def is_held(self) -> bool:
        """Whether others still see it live: False once no renewal has gone through for its time to live."""
        return not self.record.is_expired

    def note(self, **facts: JSON) -> None:
        """Change facts; on return every other process can read them. Raises what the store raises."""
        self._writes.submit(self._write, facts).result()

    def protect(self, keys: Iterable[str]) -> None:
        """Name the units (by key) that the holder is about to make or use, then wait for collectors to end.

        Raises what the store raises.
        """
        path = f"{PLANS}/{self.record.id}-{len(self._plans)}.json"
        self._plans.append(path)
        self._root.write_bytes(path, json.dumps({"keys": sorted(keys)}).encode())
        self.wait_for_collectors()

    def wait_for_collectors(self) -> None:
        """Wait for the end of those who may have looked before this lease, or its newest plan, was there.

        The wait is in the caller's thread, where it can be interrupted. Raises what the store raises.
        """
        ahead = live_leases(self._root, "gc")  # whoever begins from now on sees us
        if ahead:
            logger.info("waiting until %s is done (%s)", ahead[0].facts.get("work"), ahead[0].holder)
        while {lease.id for lease in ahead} & {lease.id for lease in live_leases(self._root, "gc")}:
            time.sleep(_POLL_SECONDS)

    def _write(self, facts: Mapping[str, JSON]) -> None:
        record = replace(self.record, renewed=_now(), facts={**self.record.facts, **facts})
        self._root.write_bytes(record.path, json.dumps(asdict(record), indent=1).encode())
        self.record = record

    def _beat(self) -> None:
        every_seconds = self.record.ttl_seconds / _RENEWALS_A_TTL
        while not self._ended.wait(every_seconds):
            renewal = self._writes.submit(self._write, {})
            self._warn(renewal, f"was not renewed; tried again in {every_seconds:.0f} s")

    def _warn(self, write: Future[Any], what: str) -> None:
        if error := write.exception():
            logger.warning("lease %s %s (%s: %s)", self.record.path, what, type(error).__name__, error)


def live_leases(root: Root, kind: LeaseKind | None = None) -> list[LeaseRecord]:
    """Leases whose holders live, the oldest first; damaged ones count as dead."""
    names = [name for name in root.names(LEASES) if kind is None or name.startswith(f"{kind}-")]
    records = (_parse_lease(path, data) for path, data in root.read_many(f"{LEASES}/{name}" for name in names))
    return sorted((record for record in records if record and not record.is_dead), key=lambda record: record.rank)


def _parse_lease(path: str, data: bytes | None) -> LeaseRecord | None:
    if data is None:
        return None  # given back since it was listed
    try:
        record = _adapter().validate_json(data)
        if datetime.fromisoformat(record.renewed).tzinfo is None:
            raise ValueError("a time without its zone")
    except ValueError:
        logger.warning("%s is damaged; its holder counts as dead", path)
        return None
    return record


@functools.cache
def _adapter() -> TypeAdapter[LeaseRecord]:
    return TypeAdapter(LeaseRecord)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
