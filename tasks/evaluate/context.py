"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from storage.keys import JSON
from storage.manifests import Manifest
from storage.root import Root
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.neighbours import Neighbour
from tasks.evaluate.scores import Score
from tasks.records import Progress, no_progress


@dataclass(frozen=True)
class Context:
    """One benchmark's inputs: `train` and `triplets` are committed units, `labels` a local Parquet file or ""."""

    root: Root
    train: Manifest
    triplets: Manifest
    labels: str
    config: EvaluateConfig
    seed: int
    device: torch.device
    progress: Progress = no_progress


@dataclass(frozen=True)
class Result:
    """One benchmark's outputs. `counts` are whole numbers of what was used and left out, `facts` small JSON."""

    scores: list[Score]
    neighbours: list[Neighbour] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
