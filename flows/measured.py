"""What a data set's units cost, from their manifests and the ledger: the rates that a forecast rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from storage.concurrency import in_threads
from storage.ledger import ledger_files, read_ledger
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from storage.versions import Version, unit_stage
from tasks.bootstrap import Interval, resample

Work = Literal["download", "track", "shard", "triplets", "train", "evaluate"]
Scale = Literal["videos", "seconds of video", "pairs", "steps", "runs"]
SCALES: Mapping[Work, Scale] = {
    "download": "videos",
    "track": "seconds of video",
    "shard": "pairs",
    "triplets": "pairs",
    "train": "steps",
    "evaluate": "runs",
}
"""What each work grows with. The triplet index is one unit over all pairs; evaluation is as large for any data set."""

_SAMPLED = 400  # units of a stage: an interval of a few percent, and as many requests
_DRAWS, _SEED = 1000, 0


@dataclass(frozen=True)
class Measured:
    """Units of one work (N,): `seconds` of their work, `scale` as SCALES says, `videos` in each, `stored` bytes.

    `overhead` seconds beside the work (to look a unit up, to import, to commit) and `requests` to the store are the
    ledger's, NaN where it does not know the unit; `cores` of the machine too, 0 where it knows none.
    """

    work: Work
    seconds: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    videos: npt.NDArray[np.float64]
    stored: npt.NDArray[np.float64]
    overhead: npt.NDArray[np.float64]
    requests: npt.NDArray[np.float64]
    devices: tuple[str, ...]
    cores: int

    @cached_property
    def rate(self) -> Interval:
        """Seconds for one of what it scales with, with a 95 % bootstrap interval over units.

        Benchmarks have none: they are no sample of others.
        """
        if self.work == "evaluate":
            return Interval(float(self.seconds.sum()), None, None)
        return resample(
            lambda drawn: _ratio(drawn, self.seconds, self.scale), len(self.seconds), _DRAWS, _SEED
        ).interval()

    @property
    def median_seconds(self) -> float:
        return float(np.median(self.seconds))

    @property
    def stored_each(self) -> float:
        """Bytes for one of what it scales with; for the whole run of a training, since steps make no network larger."""
        return float(self.stored.sum() / (1.0 if self.work == "train" else self.scale.sum()))

    @property
    def num_known(self) -> int:
        """Units that the ledger knows."""
        return int(np.isfinite(self.requests).sum())

    @property
    def overhead_each(self) -> float:
        """Seconds a unit beside its work; 0 where the ledger knows none."""
        return float(np.nanmean(self.overhead)) if self.num_known else 0.0

    @property
    def requests_each(self) -> float | None:
        """Requests for a video, or for a whole run where videos are none of its units' measure; None where unknown."""
        known = np.isfinite(self.requests)
        if not known.any():
            return None
        return float(self.requests[known].sum() / (self.videos[known].sum() or 1.0))

    @property
    def on_gpu(self) -> bool:
        return any(device.startswith("cuda") for device in self.devices)


@dataclass(frozen=True)
class Rates:
    """All that a data set has measured, by work. `video_seconds` and `pairs` of a tracked video, each (N,)."""

    works: Mapping[Work, Measured]
    video_seconds: npt.NDArray[np.float64]
    pairs: npt.NDArray[np.float64]

    @property
    def mean_video_seconds(self) -> float | None:
        return float(self.video_seconds.mean()) if self.video_seconds.sum() else None

    @property
    def pairs_each_second(self) -> float | None:
        """Pairs a second of video: every kept track is one."""
        return float(self.pairs.sum() / self.video_seconds.sum()) if self.video_seconds.sum() else None


@dataclass(frozen=True)
class _Row:
    """What the ledger has of one unit."""

    seconds: float
    requests: float
    cores: int


def measure(root: Root, version: Version) -> Rates:
    """Read the manifests of the version's units, at most some hundreds of a stage, evenly over their keys, and what the
    ledger has of them. Raises RootError."""
    rows = dict(_rows(root))
    works: dict[Work, Measured] = {}
    tracked: list[Manifest] = []
    for work, units in _units(version).items():
        manifests = list(_read(root, _thinned(units)))
        tracked = manifests if work == "track" else tracked
        if found := _measured(work, manifests, rows):
            works[work] = found
    seconds = np.array([_number(one.facts.get("seconds")) for one in tracked])
    return Rates(works, seconds, np.array([float(one.counts.get("tracks", 0)) for one in tracked]))


def _units(version: Version) -> dict[Work, list[tuple[str, str]]]:
    """(stage, key) of the version's units by work."""
    found: dict[Work, list[tuple[str, str]]] = {work: [] for work in SCALES}
    sources = version.sources.values()
    found["download"] = [("download", one.key) for one in sources if one.video and one.key and not one.failure]
    found["track"] = [("track", one.key) for one in version.videos.values() if one.key and not one.failure]
    found["shard"] = [("shard", one.key) for one in version.shards]
    for name, unit in version.units.items():
        work: Work = "triplets" if name == "triplets" else "train" if name == "train" else "evaluate"
        found[work].append((unit_stage(name), unit.key))
    return found


def _thinned(units: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """An even share of the units; a key is a digest, so that its order says nothing about the unit."""
    ordered = sorted(set(units))
    return ordered[:: max(1, -(-len(ordered) // _SAMPLED))]


def _read(root: Root, units: Sequence[tuple[str, str]]) -> Iterator[Manifest]:
    for manifest in in_threads(lambda unit: read_manifest(root, *unit), units):
        if manifest is not None:
            yield manifest


def _measured(work: Work, manifests: Sequence[Manifest], rows: Mapping[str, _Row]) -> Measured | None:
    scales = [_scale(work, one, manifests) for one in manifests]
    kept = [(one, scale) for one, scale in zip(manifests, scales, strict=True) if scale > 0]
    if not kept:
        return None
    known = [rows.get(one.key) for one, _ in kept]
    # A training that was interrupted told the ledger only of its last part; its manifest has all of it.
    beside = [row.seconds - one.seconds if row else np.nan for (one, _), row in zip(kept, known, strict=True)]
    return Measured(
        work,
        np.array([one.seconds for one, _ in kept]),
        np.array([scale for _, scale in kept]),
        np.array([_videos(work, one) for one, _ in kept]),
        np.array([float(sum(file.size for file in one.files.values())) for one, _ in kept]),
        np.clip(np.array(beside), 0.0, None),
        np.array([row.requests if row else np.nan for row in known]),
        tuple(sorted({one.device for one, _ in kept})),
        max((row.cores for row in known if row), default=0),
    )


def _videos(work: Work, manifest: Manifest) -> float:
    if work in ("download", "track"):
        return 1.0
    return float(manifest.counts.get("videos", 0)) if work == "shard" else 0.0


def _scale(work: Work, manifest: Manifest, all_of_work: Sequence[Manifest]) -> float:
    match SCALES[work]:
        case "seconds of video":
            return _number(manifest.facts.get("seconds"))
        case "pairs":
            return float(manifest.counts.get("pairs", manifest.counts.get("triplets", 0)))
        case "steps":
            return float(manifest.counts.get("steps", 0))
        case "videos":
            return 1.0
        case "runs":  # its units together are one
            return 1.0 / len(all_of_work)


def _rows(root: Root) -> Iterator[tuple[str, _Row]]:
    """By key what the ledger has of every unit that was committed, the newest last."""
    columns = ("key", "seconds", "requests", "cores", "outcome")
    for _, table in read_ledger(root, ledger_files(root), columns):
        made = table.filter(pc.and_(pc.equal(table["outcome"], "committed"), pc.is_valid(table["seconds"])))
        for row in made.to_pylist():
            yield row["key"], _Row(row["seconds"], float(row["requests"]), row["cores"])


def _ratio(drawn: npt.NDArray[np.int64], above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> float:
    return float(drawn @ above / (drawn @ below))


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
