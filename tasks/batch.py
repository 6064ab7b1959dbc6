"""Run a batch of units over worker processes. Storage decides what is done already."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from storage.versions import Failure
from tasks.configuration import StageConfig, settings_text
from tasks.pool import Call, Reply, WorkerPool, resolve
from tasks.records import Dropped, Listing, Paused, Progress, no_progress
from tasks.usage import Usage

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """One unit to run: `work` ("package.module:function") is called with (root, *arguments, document, **options).

    `again`: run it although storage may hold it, since what it names is gone. `shared_files`: its files lie outside
    its folder, where others may have dropped them; it counts as committed only while they are there. `host`: whom it
    asks, empty where it asks nobody. `group_work`: what runs up to `group_size` such units side by side in one
    process, called with (root, their arguments, their documents, **options); it returns a Manifest or Dropped each.
    """

    item: str
    document: KeyDocument
    work: str
    arguments: tuple[Any, ...]
    again: bool = False
    shared_files: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    group_work: str = ""
    group_size: int = 1

    @property
    def key(self) -> str:
        return self.document.key


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a unit ended: committed now, found committed (`cached`), or failed.

    `accepted`: the key of another unit whose output a user accepted for this one. `pending`: what ran out before
    the unit was done; it is left for a later run. `listing`: what it named, where it turned out to be a list.
    `stored_bytes`: of its files. `device`: where its work was done. `usage`: what it cost its process this time, where
    that lived to tell; units that ran side by side share it evenly.
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
    listing: Listing | None = None
    stored_bytes: int = 0
    device: str = ""
    usage: Usage | None = None


class Intake(Protocol):
    """Decides which unit of a batch begins when, and what the outcome of one means for the others."""

    def offer(self, units: Sequence[Unit]) -> None:
        """Begin on a batch."""

    def take(self) -> int | float | None:
        """The index of a unit to begin now; or for how many seconds none may begin; or None: no more will."""

    def judge(self, index: int, outcome: Outcome, dropped: Dropped | None) -> Outcome | None:
        """The outcome as it counts; None where the unit is to be taken again."""

    def left(self, unit: Unit) -> str:
        """Why a unit is left for later, where it never began."""


Budget = Callable[[Outcome | None], str]
"""Asked before the first unit (None) and told every outcome; gives what ran out, or nothing while there is room."""


def no_budget(outcome: Outcome | None) -> str:
    return ""


class InOrder:
    """The plain intake: one unit after the other, until something runs out (a disk)."""

    def __init__(self) -> None:
        self.stopped = ""
        self._waiting: deque[int] = deque()

    def offer(self, units: Sequence[Unit]) -> None:
        self._waiting = deque(range(len(units)))

    def take(self) -> int | None:
        return self._waiting.popleft() if self._waiting and not self.stopped else None

    def judge(self, index: int, outcome: Outcome, dropped: Dropped | None) -> Outcome:
        self.stopped = self.stopped or outcome.pending
        return outcome

    def left(self, unit: Unit) -> str:
        return self.stopped


def run_batch(
    pool: WorkerPool,
    root: Root,
    units: Sequence[Unit],
    progress: Progress = no_progress,
    intake: Intake | None = None,
) -> list[Outcome]:
    """Run the units that storage does not hold; outcomes in the order of the units. A Dropped is an outcome.

    `intake` may keep units back (in order where it is None); those come back pending. Units that are run in groups
    go in order.
    """
    if any(unit.group_size > 1 for unit in units):
        return _run_groups(pool, root, units, progress)
    intake = intake or InOrder()
    outcomes: dict[int, Outcome] = {}
    calls = [Call("tasks.batch:run_unit", (root, unit)) for unit in units]
    intake.offer(units)
    for index, reply in pool.run(calls, intake.take):
        outcome = intake.judge(index, _outcome_of(units[index], reply), reply.dropped)
        if outcome is None:
            continue
        _warn(units[index], outcome)
        outcomes[index] = outcome
        progress(len(outcomes), len(units), outcome.item)
    return [
        outcomes.get(index) or Outcome(unit.item, unit.key, pending=intake.left(unit))
        for index, unit in enumerate(units)
    ]


def run_unit(root: Root, unit: Unit, **options: Any) -> Outcome:
    """Find the unit committed, or run its work in this process and commit it.

    Raises Dropped, or Paused where a disk is full.
    """
    if standing := _found(root, unit):
        return standing
    with _full_disk_pauses(root):
        done = resolve(unit.work)(root, *unit.arguments, unit.document, **unit.options, **options)
    if isinstance(done, Listing):
        return Outcome(unit.item, unit.key, listing=done)
    return _outcome(unit, done, cached=False)


def run_group(root: Root, units: Sequence[Unit]) -> list[Outcome]:
    """Find the units committed, or run the others side by side in this process; one that is dropped is an outcome.

    Raises Paused where a disk is full; what was committed until then is found by the next run.
    """
    outcomes = {unit.key: standing for unit in units if (standing := _found(root, unit))}
    missing = [unit for unit in units if unit.key not in outcomes]
    if missing:
        arguments, documents = [unit.arguments for unit in missing], [unit.document for unit in missing]
        with _full_disk_pauses(root):
            ended = resolve(missing[0].group_work)(root, arguments, documents, **missing[0].options)
        for unit, done in zip(missing, ended, strict=True):
            dropped = isinstance(done, Dropped)
            outcomes[unit.key] = failed(unit, done) if dropped else _outcome(unit, done, cached=False)
    return [outcomes[unit.key] for unit in units]


def _run_groups(pool: WorkerPool, root: Root, units: Sequence[Unit], progress: Progress) -> list[Outcome]:
    """Groups of units, each in one process; those whose process died or met a limit are tried again one by one."""
    size, intake = max(unit.group_size for unit in units), InOrder()
    groups = [units[first : first + size] for first in range(0, len(units), size)]
    intake.offer([group[0] for group in groups])
    outcomes: dict[str, Outcome] = {}
    alone: list[Unit] = []
    for index, reply in pool.run([Call("tasks.batch:run_group", (root, group)) for group in groups], intake.take):
        intake.stopped = intake.stopped or reply.paused
        if reply.dropped is not None:
            alone += groups[index]
        else:
            for unit, outcome in zip(groups[index], _used(reply), strict=False):
                _warn(unit, outcome)
                outcomes[unit.key] = outcome
        progress(len(outcomes), len(units), groups[index][-1].item)
    again = run_batch(pool, root, [replace(unit, group_size=1) for unit in alone], progress)
    outcomes |= {outcome.key: outcome for outcome in again}
    return [outcomes.get(unit.key) or Outcome(unit.item, unit.key, pending=intake.stopped) for unit in units]


def failed(unit: Unit, dropped: Dropped) -> Outcome:
    """The outcome of a unit that was dropped, with the settings that the verdict rests on."""
    config = next((one for one in unit.arguments if isinstance(one, StageConfig)), None)
    settings = settings_text(config, dropped.settings) if config else ""
    return Outcome(unit.item, unit.key, failure=replace(dropped.as_failure(unit.document.stage), settings=settings))


def _outcome_of(unit: Unit, reply: Reply) -> Outcome:
    if reply.paused:
        return Outcome(unit.item, unit.key, pending=reply.paused, usage=reply.usage)
    outcome: Outcome = reply.value if reply.dropped is None else failed(unit, reply.dropped)
    return replace(outcome, usage=reply.usage)


def _used(reply: Reply) -> Iterator[Outcome]:
    """A group's outcomes, each with its even share of what the group cost; the peak of memory is that of all."""
    outcomes: list[Outcome] = reply.value or []
    for outcome in outcomes:
        yield replace(outcome, usage=reply.usage and reply.usage.shared(len(outcomes)))


@contextmanager
def _full_disk_pauses(root: Root) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename or root.url
        raise Paused(f"no space left ({where}); free some and run again, all that is committed is kept") from error


def _found(root: Root, unit: Unit) -> Outcome | None:
    """The unit as storage holds it, with its files; None where it has to run."""
    manifest = None if unit.again else read_manifest(root, unit.document.stage, unit.key)
    if manifest is None or not _has_its_files(root, unit, manifest):
        return None
    return _outcome(unit, manifest, cached=True)


def _warn(unit: Unit, outcome: Outcome) -> None:
    if failure := outcome.failure:
        words = f"{failure.reason}: {failure.words}"
        _log.warning("%s %s: dropped as %s, %s", unit.document.stage, outcome.item, failure.kind, words)


def _has_its_files(root: Root, unit: Unit, manifest: Manifest) -> bool:
    return not unit.shared_files or all(root.exists(file.path) for file in manifest.files.values())


def _outcome(unit: Unit, manifest: Manifest, cached: bool) -> Outcome:
    accepted = manifest.accepted.key if manifest.accepted else ""
    return Outcome(
        unit.item,
        unit.key,
        cached,
        manifest.counts,
        manifest.facts,
        manifest.seconds,
        accepted=accepted,
        stored_bytes=sum(file.size for file in manifest.files.values()),
        device=manifest.device,
    )
