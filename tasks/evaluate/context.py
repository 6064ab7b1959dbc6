"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from storage.keys import JSON
from storage.manifests import Manifest
from storage.root import Root
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.judged import Judged
from tasks.evaluate.neighbours import Neighbour
from tasks.evaluate.resuming import Attempts
from tasks.evaluate.scores import Score
from tasks.records import Progress, no_progress


@dataclass(frozen=True)
class Context:
    """One benchmark's inputs.

    `judged`: the networks that are compared. `data`: the local path of what the benchmark reads (`DATA`), or "".
    `triplets`: a committed unit, for the benchmarks of held-out tracks alone. `proposals`: keys of units.
    `attempts`: where long work keeps its state while the unit is not committed.
    """

    root: Root
    judged: Judged
    triplets: Manifest | None
    data: str
    config: EvaluateConfig
    seed: int
    device: torch.device
    attempts: Attempts
    proposals: tuple[str, ...] = ()
    progress: Progress = no_progress

    @property
    def tracks(self) -> Manifest:
        """The triplet index, of a benchmark of `OF_TRACKS`."""
        assert self.triplets is not None, "planned without a triplet index"
        return self.triplets


@dataclass(frozen=True)
class Result:
    """One benchmark's outputs. `counts` are whole numbers of what was used and left out, `facts` small JSON.

    `files`: more of the unit, by name; bytes, or a local file, which is removed once it is committed.
    """

    scores: list[Score]
    neighbours: list[Neighbour] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
