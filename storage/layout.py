"""What a path below a root is: the layout read backwards, for those who walk a whole root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

PlaceKind = Literal[
    "manifest", "unit", "attempt", "video", "head", "table", "lease", "ledger", "summary", "state", "foreign"
]

LEDGER = "state/ledger"
"""The folder of what stages' runs cost (`storage.ledger`)."""

_KEY = r"(?P<key>[0-9a-f]{64})"
_STAGE = r"(?P<stage>(?!videos/|datasets/|state/)[a-z][a-z_]*)"
_PATTERNS: tuple[tuple[PlaceKind, re.Pattern[str]], ...] = (
    ("manifest", re.compile(f"{_STAGE}/{_KEY}/manifest\\.json")),
    ("attempt", re.compile(f"{_STAGE}/{_KEY}/attempts/(?:(?P<attempt>[^/]+)/)?[^/]+")),
    ("unit", re.compile(f"{_STAGE}/{_KEY}/[^/]+")),
    ("video", re.compile(f"videos/[0-9a-f]{{2}}/{_KEY}")),
    ("head", re.compile(r"datasets/(?P<dataset>[^/]+)/(?P<number>\d+)\.json")),
    ("table", re.compile(r"datasets/(?P<dataset>[^/]+)/tables/[^/]+\.parquet")),
    ("lease", re.compile(r"state/leases/(run|train|gc)-(?P<lease>[0-9a-f]{16})\.json")),
    ("lease", re.compile(r"state/plans/(?P<lease>[0-9a-f]{16})-\d+\.json")),
    ("ledger", re.compile(rf"{LEDGER}/.+-[0-9a-f]{{16}}\.parquet")),
    ("summary", re.compile(r"state/runs/[0-9a-f-]{36}\.json")),
    ("state", re.compile(r"state/.+")),
)
_NAMED_DIGEST = re.compile(r".+-([0-9a-f]{16})\.[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Place:
    """What lies at a path. `key`: of the unit, or the digest of the video; `lease`: the id of whose file it is."""

    kind: PlaceKind
    stage: str = ""
    key: str = ""
    attempt: str = ""
    dataset: str = ""
    number: int = 0
    lease: str = ""


def place_of(path: str) -> Place:
    """Where in the layout a path lies; "foreign" where Tritrack writes nothing."""
    for kind, pattern in _PATTERNS:
        if match := pattern.fullmatch(path):
            found = {name: value for name, value in match.groupdict().items() if value is not None}
            return Place(kind, number=int(found.pop("number", "0")), **found)
    return Place("foreign")


def named_digest(path: str) -> str:
    """The first 16 hex digits of the file's own digest, as its name says; empty where it says none."""
    match = _NAMED_DIGEST.fullmatch(path.rsplit("/", 1)[-1])
    return match[1] if match else ""


def attempts_folder(stage: str, key: str) -> str:
    """Where the running attempts at a unit keep their checkpoints, each in a folder of its own."""
    return f"{stage}/{key}/attempts"


def attempts_document_path(stage: str, key: str) -> str:
    """The key document of the unit that the attempts are at; they have no manifest yet that would hold it."""
    return f"{attempts_folder(stage, key)}/document.json"


def summary_path(run: str) -> str:
    """What a stage's flow run leaves for the flow run that started it; read once, and removed."""
    return f"state/runs/{run}.json"


def purged_path(video: str) -> str:
    """The record that a video (SHA-256) was purged."""
    return f"state/purged/{video}.json"
