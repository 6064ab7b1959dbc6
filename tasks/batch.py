"""Run a batch of units over worker processes. Storage decides what is done already."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from storage.versions import Failure
from tasks.pool import Call, WorkerPool, resolve
from tasks.records import Dropped, Progress, no_progress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """One unit to run: `work` ("package.module:function") is called with (root, *arguments, document)."""

    item: str
    document: KeyDocument
    work: str
    arguments: tuple[Any, ...]

    @property
    def key(self) -> str:
        return self.document.key


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: committed now, found committed (`cached`), or failed."""

    item: str
    key: str
    cached: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    seconds: float = 0.0
    failure: Failure | None = None


def run_batch(pool: WorkerPool, root: Root, units: Sequence[Unit], progress: Progress = no_progress) -> list[Outcome]:
    """Run the units that storage does not hold; outcomes in the order of the units. A Dropped is an outcome."""
    outcomes: dict[int, Outcome] = {}
    calls = [Call("tasks.batch:run_unit", (root, unit)) for unit in units]
    for index, reply in pool.run(calls):
        unit = units[index]
        if reply.dropped is None:
            outcomes[index] = reply.value
        else:
            _log.warning("%s %s: dropped as %s, %s", unit.document.stage, unit.item, reply.dropped.kind, reply.dropped)
            outcomes[index] = failed(unit, reply.dropped)
        progress(len(outcomes), len(units), unit.item)
    return [outcomes[index] for index in range(len(units))]


def run_unit(root: Root, unit: Unit, **options: Any) -> Outcome:
    """Find the unit committed, or run its work in this process and commit it. Raises Dropped."""
    manifest = read_manifest(root, unit.document.stage, unit.key)
    if manifest is not None:
        return _outcome(unit, manifest, cached=True)
    return _outcome(unit, resolve(unit.work)(root, *unit.arguments, unit.document, **options), cached=False)


def failed(unit: Unit, dropped: Dropped) -> Outcome:
    return Outcome(unit.item, unit.key, failure=dropped.as_failure(unit.document.stage))


def _outcome(unit: Unit, manifest: Manifest, cached: bool) -> Outcome:
    return Outcome(unit.item, unit.key, cached, manifest.counts, manifest.facts, manifest.seconds)
