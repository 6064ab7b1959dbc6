"""What `fsck` finds: one record a fault, and the report that holds them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from storage.history import FaultKind, UnitName

BrokenKind = Literal[
    "flipped",  # the size is right, the bytes are not
    "truncated",
    "grown",  # more bytes than its manifest says
    "missing",
    "damaged_manifest",
    "dangling_alias",  # an accepted unit whose own unit is gone
    "lost_unit",  # a newest version names it, and it has no manifest
    "damaged_video",  # named by no manifest, and its bytes are not those of its name
    "damaged_checkpoint",
    "damaged_ledger",  # what a stage's run cost; what it measured is lost, and nothing else
    "damaged_metadata",  # a newest version's table of what its videos are, or there is none
]
NoteKind = Literal[
    "newer_manifest",  # of a newer Tritrack: left alone
    "orphan",  # a file that nothing names
    "unfinished",  # the checkpoint of an attempt that ended: a run of the unit goes on from it
    "purged",  # gone because its video was purged
    "history",  # named by older versions alone, and gone or damaged: those cannot be read whole any more
    "foreign",  # not written by Tritrack
]
FindingKind = BrokenKind | FaultKind | NoteKind

REPAIRABLE: frozenset[FindingKind] = frozenset(
    {
        "flipped", "truncated", "grown", "missing", "damaged_manifest", "dangling_alias", "lost_unit", "damaged_video",
        "damaged_checkpoint", "damaged_metadata", "damaged_ledger",
    }
)  # fmt: skip
UNREPAIRABLE: frozenset[FindingKind] = frozenset(
    {"damaged_head", "missing_head", "newer_head", "damaged_table", "missing_table", "newer_manifest"}
)
"""Faults that `repair` says what to do about, and does not touch."""


@dataclass(frozen=True)
class Finding:
    """One fault or remark: the file, and in words what is the matter.

    `units`: those that name the file (stage, key), or the unit itself. `datasets`: whose newest versions name the
    units. `size` in bytes and `age_seconds` since the last write where the file is there.
    """

    kind: FindingKind
    path: str
    words: str
    units: tuple[UnitName, ...] = ()
    datasets: tuple[str, ...] = ()
    size: int = 0
    age_seconds: float | None = None

    @property
    def is_broken(self) -> bool:
        return self.kind in REPAIRABLE or self.kind in UNREPAIRABLE


@dataclass(frozen=True)
class Report:
    """What a check of a whole root found. `quick`: sizes were compared and no bytes were read.

    `files` and `bytes` are those that were compared with what names them.
    """

    root: str
    quick: bool
    findings: tuple[Finding, ...]
    versions: int = 0
    units: int = 0
    files: int = 0
    bytes: int = 0

    @property
    def broken(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.is_broken)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))
