"""Stub work for the benchmarks of what a run adds: units whose work is next to nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import Root
from tasks.batch import Outcome, Unit
from tests.flows.imagined import imagined_outcome


def small_units(number: int, name: str) -> list[Unit]:
    """So many units that each commit one small file; `name` keeps those of one run apart from another's."""
    documents = [KeyDocument(Recipe("track", 1), {"run": name, "number": n}) for n in range(number)]
    return [Unit(f"unit {n}", one, "tests.bench.stub:commit_small", ()) for n, one in enumerate(documents)]


def commit_small(root: Root, document: KeyDocument, **_: Any) -> Manifest:
    """What storage does at the least for a unit: a file and a manifest, both written, read back and synced."""
    return commit(root, document, {"output.bin": b"output"}, counts={"tracks": 5})


def imagined(unit: Unit) -> Unit:
    """The unit with its work replaced by a stub that commits nothing."""
    return replace(unit, work="tests.bench.stub:imagine", arguments=(unit.item,), group_size=1, options={})


def imagine(root: Root, item: str, document: KeyDocument, **_: Any) -> Manifest:
    """The manifest that the unit's work would have committed."""
    told: Outcome = imagined_outcome(Unit(item, document, "", ()))
    return Manifest(document.stage, document.key, {}, {}, counts=told.counts, facts=told.facts)
