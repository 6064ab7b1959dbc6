"""What must hold once a disturbed data set is done."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from storage.gc import collect
from storage.root import open_root
from tests.chaos.faults import Event
from tests.chaos.outputs import damages, differences, lost_entries, read_outputs, temporaries
from tests.chaos.records import DATASET, WORKERS, Place, Reference, Report

_TORCH = ("torchinductor_",)  # a cache that torch keeps on purpose


def judge(place: Place, reference: Reference, events: Sequence[Event], report: Report) -> None:
    """Write into the report what does not hold, before a collection of garbage and after it.

    `events`: of all attempts in their order, each attempt closed by an "end" with its ending.
    """
    root = open_root(place.root)
    interruptions = sum(event.event == "end" and event.what != "done" for event in events)
    report.failures += _repeated(events, report, interruptions)
    own = place.scratch / f"tritrack-{os.getuid()}"  # unfinished downloads, which the next run goes on from
    folders = [*(path for path in place.scratch.iterdir() if path != own), *(own.iterdir() if own.exists() else ())]
    scratch = [path.name for path in folders if not path.name.startswith(_TORCH)]
    half = temporaries(Path(root.base)) if root.is_local else []
    report.temporary = len(scratch) + len(half)
    if len(scratch) > WORKERS * interruptions:
        report.failures.append(f"{interruptions} interruptions do not explain the scratch folders {scratch}")
    if len(half) > WORKERS * interruptions + report.faults["full_disk"]:
        report.failures.append(f"{interruptions} interruptions do not explain the half-written files {half}")
    report.failures += damages(root)
    for name in half:
        os.utime(Path(root.base) / name, (0, 0))  # `gc` takes them for writes under way within their first hour
    collect(root, grace_seconds=0, delete=True)
    report.failures += differences(reference.outputs, read_outputs(root, DATASET))
    report.failures += lost_entries(root, DATASET)
    if root.is_local:
        report.failures += [f"gc left {name}" for name in temporaries(Path(root.base))]


def _repeated(events: Sequence[Event], report: Report, interruptions: int) -> list[str]:
    """Sentences about units that were done again although committed, or more of them than were in flight."""
    told = []
    starts: Counter[str] = Counter()  # attempts that began a unit; training looks for its manifest more than once
    committed: set[str] = set()
    begun: set[str] = set()
    for event in events:
        if event.event == "start":
            begun.add(event.path)
            if event.path in committed:
                told.append(f"{event.path} was begun again after its commit")
        elif event.event == "commit":
            if event.path in committed:
                told.append(f"{event.path} was made again after its commit")
            committed.add(event.path)
        elif event.event == "end":
            starts.update(begun)
            begun.clear()
    report.again = sum(count - 1 for count in starts.values())
    if report.again > WORKERS * interruptions:
        told.append(f"{report.again} units begun again after {interruptions} interruptions of {WORKERS} workers")
    return told
