"""Run a batch of units over worker processes. Storage decides what is done already."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from storage.versions import Failure
from tasks.pool import Call, WorkerPool, resolve
from tasks.records import Dropped, Paused, Progress, no_progress

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """One unit to run: `work` ("package.module:function") is called with (root, *arguments, document, **options).

    `again`: run it although storage may hold it, since what it names is gone. `shared_files`: its files lie outside
    its folder, where others may have dropped them; it counts as committed only while they are there.
    """

    item: str
    document: KeyDocument
    work: str
    arguments: tuple[Any, ...]
    again: bool = False
    shared_files: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.document.key


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: committed now, found committed (`cached`), or failed.

    `accepted`: the key of another unit whose output a user accepted for this one. `pending`: what ran out before
    the unit was done; it is left for a later run.
    """

    item: str
    key: str
    cached: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    seconds: float = 0.0
    failure: Failure | None = None
    accepted: str = ""
    pending: str = ""


Budget = Callable[[Outcome | None], str]
"""Asked before the first unit (None) and told every outcome; gives what ran out, or nothing while there is room."""


def run_batch(
    pool: WorkerPool,
    root: Root,
    units: Sequence[Unit],
    progress: Progress = no_progress,
    budget: Budget = lambda outcome: "",
) -> list[Outcome]:
    """Run the units that storage does not hold; outcomes in the order of the units. A Dropped is an outcome.

    Once something runs out (a disk, or the budget) no further unit is begun: those come back pending.
    """
    outcomes: dict[int, Outcome] = {}
    ran_out: list[str] = []
    calls = [Call("tasks.batch:run_unit", (root, unit)) for unit in units]
    if told := budget(None):
        ran_out.append(told)
    for index, reply in pool.run(calls, lambda: bool(ran_out)):
        unit = units[index]
        if reply.paused:
            outcomes[index] = Outcome(unit.item, unit.key, pending=reply.paused)
            ran_out.append(reply.paused)
        elif reply.dropped is None:
            outcomes[index] = reply.value
            if told := budget(reply.value):
                ran_out.append(told)
        else:
            _log.warning("%s %s: dropped as %s, %s", unit.document.stage, unit.item, reply.dropped.kind, reply.dropped)
            outcomes[index] = failed(unit, reply.dropped)
        progress(len(outcomes), len(units), unit.item)
    return [outcomes.get(index) or Outcome(unit.item, unit.key, pending=ran_out[0]) for index, unit in enumerate(units)]


def run_unit(root: Root, unit: Unit, **options: Any) -> Outcome:
    """Find the unit committed, or run its work in this process and commit it.

    Raises Dropped, or Paused where a disk is full.
    """
    manifest = None if unit.again else read_manifest(root, unit.document.stage, unit.key)
    if manifest is not None and _has_its_files(root, unit, manifest):
        return _outcome(unit, manifest, cached=True)
    try:
        done = resolve(unit.work)(root, *unit.arguments, unit.document, **unit.options, **options)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename or root.url
        raise Paused(f"no space left ({where}); free some and run again, all that is committed is kept") from error
    return _outcome(unit, done, cached=False)


def _has_its_files(root: Root, unit: Unit, manifest: Manifest) -> bool:
    return not unit.shared_files or all(root.exists(file.path) for file in manifest.files.values())


def failed(unit: Unit, dropped: Dropped) -> Outcome:
    return Outcome(unit.item, unit.key, failure=dropped.as_failure(unit.document.stage))


def _outcome(unit: Unit, manifest: Manifest, cached: bool) -> Outcome:
    accepted = manifest.accepted.key if manifest.accepted else ""
    return Outcome(unit.item, unit.key, cached, manifest.counts, manifest.facts, manifest.seconds, accepted=accepted)
