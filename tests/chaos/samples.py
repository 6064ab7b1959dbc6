"""Which samples the steps of a training run consumed: every rank appends what it was given to one file."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import ChangingFinder

VARIABLE = "TRITRACK_CHAOS_SAMPLES"  # the file


@dataclass(frozen=True)
class Consumed:
    """What one rank consumed in one step (from 0).

    `pairs`: rows of the pair table, of the whole batch; `first`: place in it of the rank's own first pair; `images`:
    checksum of each of its pairs: both patches as decoded, and the draws that change their colours.
    """

    step: int
    rank: int
    ranks: int
    pairs: tuple[int, ...]
    first: int
    images: tuple[int, ...]


def install() -> None:
    """Have the training loop of this process write what it consumes, once its module is imported."""
    sys.meta_path.insert(0, ChangingFinder("tasks.train.loop", _listen))


def read_consumed(file: Path) -> list[Consumed]:
    """All that was written so far; one write a line, which no kill cuts."""
    records = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [Consumed(*(tuple(part) if isinstance(part, list) else part for part in record)) for record in records]


def _listen(module: Any) -> None:
    forward: Callable[..., Any] = module.forward

    def told(run: Any, batch: Any, step: int) -> Any:
        import torch.distributed

        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        own = len(batch.images) // 2
        images = [
            zlib.crc32(
                b"".join(part[place].tobytes() for part in (batch.images, batch.draws) for place in (pair, own + pair))
            )
            for pair in range(own)
        ]
        first = module.rank_slice(len(batch.groups), rank, ranks).start
        _append(Consumed(step, rank, ranks, tuple(batch.pairs.tolist()), first, tuple(images)))
        return forward(run, batch, step)

    module.forward = told


def _append(consumed: Consumed) -> None:
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (json.dumps(astuple(consumed)) + "\n").encode())
    finally:
        os.close(file)
