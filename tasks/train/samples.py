"""What training takes its samples from: tracked pairs of videos, or labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from storage.keys import JSON
from storage.root import Root
from tasks.train.config import TrainConfig
from tasks.train.job import Job
from tasks.train.objectives import SAMPLES, samples_of
from tasks.train.order import Layout
from tasks.variants import load_variant


class Samples(Protocol):
    """N samples of `views` images each, V, that a training run draws in batches.

    `groups` (N,) int64: whose samples are alike, by video or class, from 0 on; `counts` and `facts` of them enter the
    unit's manifest. Any thread may read. Shards and blocks are those of `layout`.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def groups(self) -> NDArray[np.int64]: ...

    @property
    def views(self) -> int: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def facts(self) -> Mapping[str, JSON]: ...

    def __len__(self) -> int: ...

    def decode(self, sample: int, draws: NDArray[np.float64], config: TrainConfig, out: NDArray[np.uint8]) -> None:
        """Fill `out` (V, S, S, 3) with a sample's images, each changed by its draws (V, C)."""

    def far_away(self, samples: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """(P, P) bool: which of P samples show different things though of one group; None: that is not known."""

    def fetch(self, shard: int) -> None:
        """Have a shard at hand before it is read."""

    def release(self, shards: Iterable[int]) -> None:
        """These shards are not read for a while."""

    def will_need(self, blocks: Iterable[int]) -> None:
        """Let the system read these blocks ahead."""

    def close(self) -> None: ...


def load_samples(root: Root, job: Job) -> Samples:
    """The samples that the job's objective learns from.

    Raises Dropped for data that cannot be trained on, RootError or ValueError where it is missing, damaged or changed.
    """
    module = load_variant(SAMPLES, samples_of(job.config.objective), "samples")
    samples: Samples = module.load(root, job)
    return samples
