"""`gc`: find, and on request delete, what no data set version reaches.

Safe beside runs by the order in which it looks: its own lease first, then what live leases protect, then the
versions, then the files. A run that names a unit later than that waits for the collector to end; one that named
it before is seen, by its plan or by the version that it recorded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from storage.contents import Progress, no_progress
from storage.garbage import Garbage, Search, find_garbage
from storage.history import read_history
from storage.layout import place_of
from storage.leases import Lease
from storage.protection import collecting, live_work
from storage.root import Root, RootError
from storage.uploads import abort_upload

GRACE_SECONDS = 86_400.0
"""A day: what was written since is kept, so that a run that was killed can go on from it. It also covers workers,
which outlive a killed run by a moment, and writers that hold no lease."""

_BATCH_FILES = 256


@dataclass(frozen=True)
class Collection:
    """What a collector found, and whether it deleted it.

    `kept_young`: files that only their age kept; `live`: holders of live leases, in words.
    """

    root: str
    deleted: bool
    garbage: tuple[Garbage, ...]
    kept_young: int = 0
    live: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Files by kind."""
        return dict(sorted(Counter(item.kind for item in self.garbage).items()))

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes by kind."""
        sums: Counter[str] = Counter()
        for item in self.garbage:
            sums[item.kind] += item.size
        return dict(sorted(sums.items()))


def collect(
    root: Root,
    *,
    grace_seconds: float = GRACE_SECONDS,
    keep_versions: int | None = None,
    delete: bool = False,
    progress: Progress = no_progress,
) -> Collection:
    """Find what no version of any data set reaches and nobody may be using; `delete` it, or only tell.

    Deleted are units with all their files, files that lost the race for a unit, raw videos, tables of versions,
    checkpoints that no run will go on from, writes that did not end, and leases of the dead. Kept is what is
    younger than `grace_seconds`, what live runs and attempts have named, and, while a run is live, every raw
    video and table. `keep_versions`: of each data set keep only so many, the newest (1 or more), and what they
    reach (all, while a run is live). Raises RootError where a version cannot be read (what it names is not
    known), another collector is live, or the store fails.
    """
    if not delete:
        return _told(_search(root, grace_seconds, keep_versions, progress), deleted=False)
    with collecting(root, "gc") as lease:
        search = _search(root, grace_seconds, keep_versions, progress)
        _delete(search, lease, progress)
        return _told(search, deleted=True)


def _search(root: Root, grace_seconds: float, keep_versions: int | None, progress: Progress) -> Search:
    live = live_work(root)
    newest = None if live.has_run else keep_versions  # a run may stand on any
    search = Search(root, live, read_history(root, newest), grace_seconds)
    if gaps := search.history.gaps:
        raise RootError(f"gc: {gaps[0].path} cannot be read, so what it names is not known; run: tritrack fsck")
    find_garbage(search, progress)
    return search


def _delete(search: Search, lease: Lease, progress: Progress) -> None:
    """Versions first, since they name what goes next; then manifests: without one a unit is none, whatever is left."""
    phases: dict[str, list[str]] = {"head": [], "manifest": [], "other": []}
    for item in search.found:
        if item.kind != "upload":
            kind = place_of(item.path).kind
            phases[kind if kind in phases else "other"].append(item.path)
    for head in sorted(phases["head"], key=lambda path: place_of(path).number):  # so that a kill leaves no gap
        search.root.remove(head)
    done, total = len(phases["head"]), sum(map(len, phases.values()))
    for phase in (phases["manifest"], phases["other"]):  # many are removed at once, so that only its end is an order
        for start in range(0, len(phase), _BATCH_FILES):
            if not lease.is_held:  # runs did not wait for us any more
                raise RootError("gc: the store did not take its lease for too long, so it stopped; run it again")
            done += search.root.remove_many(phase[start : start + _BATCH_FILES])
            progress(done, total, "deleting")
    for upload in search.uploads:
        abort_upload(search.root, upload)


def _told(search: Search, deleted: bool) -> Collection:
    garbage = tuple(sorted(search.found, key=lambda item: (item.kind, item.path)))
    live = tuple(f"{lease.kind}: {lease.holder}" for lease in search.live.leases if lease.kind != "gc")
    return Collection(search.root.url, deleted, garbage, search.kept_young, live)
