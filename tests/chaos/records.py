"""What a chaos run is told and what it tells: places, orders, kills, the reference and the report of a cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.chaos.outputs import Outputs

Entry = Literal["stages", "prefect", "together"]
"""How a run is started: each stage a process of its own, `tritrack run`, or all stages in one plain process."""

ENTRIES: tuple[Entry, ...] = ("stages", "prefect", "together")
DATASET = "chaos"
START = "start"  # of `tritrack run`, before its first stage
WORKERS = 2


@dataclass(frozen=True)
class Place:
    """Where a cycle works: the world, its own folder, its root and, where needed, the S3 server and Prefect's home."""

    world: Path
    folder: Path
    root: str
    endpoint: str = ""
    prefect_home: Path | None = None

    @property
    def scratch(self) -> Path:
        """The folder for temporary files of all its processes."""
        return self.folder / "tmp"


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its outputs; by step its seconds and operations; by stage those on the stage's own paths."""

    outputs: Outputs
    seconds: Mapping[str, float]
    operations: Mapping[str, int]
    own_operations: Mapping[str, int]


@dataclass(frozen=True)
class Order:
    """What a cycle is to meet: kills by stage, and the share of operations (local) or requests (S3) with a fault.

    Everything is drawn from `seed`, but for what the race of processes decides.
    """

    seed: str
    entry: Entry
    kills: Mapping[str, int]
    rate: float


@dataclass(frozen=True)
class Kill:
    """When the parent gets SIGKILL: at an operation on its root, or after seconds.

    `is_within_stage`: only operations on the stage's own paths count. `from_first_child`: the seconds count from the
    start of the parent's first child.
    """

    stage: str
    at_operation: int = 0
    is_within_stage: bool = False
    after_seconds: float = 0.0
    from_first_child: bool = False


@dataclass
class Report:
    """What a cycle met. `failures` are sentences; none means that it held.

    `endings`: the last words of attempts that a fault ended; `again`: units begun again; `temporary`: scratch folders
    and half-written files that were left; `lingered_seconds`: how long a process outlived its parent at most.
    """

    seed: str
    entry: Entry
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    again: int = 0
    temporary: int = 0
    lingered_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
