"""What live leases protect from collectors, and the lease that collectors hold themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.layout import place_of
from storage.leases import PLANS, Lease, LeaseRecord, live_leases
from storage.root import Root, RootError


@contextmanager
def collecting(root: Root, work: str) -> Iterator[Lease]:
    """Hold the "gc" lease that makes runs wait before they begin; `work` says what for ("gc", "repair", "purge").

    Raises RootError where another collector is live.
    """
    with Lease(root, "gc", {"work": work}) as lease:
        if others := [other for other in live_leases(root, "gc") if other.id != lease.record.id]:
            other = others[0]
            raise RootError(f"{work}: {other.facts.get('work')} is under way ({other.holder}); wait for its end")
        yield lease


@dataclass(frozen=True)
class LiveWork:
    """What must be left alone now: live leases, and the keys of the units that their holders plan or train."""

    leases: tuple[LeaseRecord, ...] = ()
    keys: frozenset[str] = frozenset()

    @property
    def has_run(self) -> bool:
        """Whether a run is live: it may be about to name any raw video or version table."""
        return any(lease.kind == "run" for lease in self.leases)

    @property
    def has_writer(self) -> bool:
        """Whether anybody but a collector is at work, who may be in the middle of a write."""
        return any(lease.kind != "gc" for lease in self.leases)


def live_work(root: Root) -> LiveWork:
    """All that live leases hold; raises RootError where the plan of one cannot be read."""
    leases = live_leases(root)
    ids = {lease.id for lease in leases}
    paths = [path for name in root.names(PLANS) if place_of(path := f"{PLANS}/{name}").lease in ids]
    keys: set[str] = set()
    for path, data in root.read_many(paths):
        keys.update(_parse_plan(path, data))
    trained = {str(lease.facts.get("key")) for lease in leases if lease.kind == "train"}
    return LiveWork(tuple(leases), frozenset(keys | trained))


def _parse_plan(path: str, data: bytes | None) -> list[str]:
    if data is None:
        return []  # its holder ended since it was listed
    try:
        return [str(key) for key in json.loads(data)["keys"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RootError(f"root: {path} is damaged; wait until the run that wrote it has ended") from error
