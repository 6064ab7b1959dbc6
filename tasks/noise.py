"""Tracker noise: how often accepted tracks are wrong, why, and how far off tracks are, over audited tracks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.keys import JSON
from tasks.bootstrap import cluster_interval

CAUSES = ("drift", "scale", "occlusion", "left_view", "cut", "no_object")
MEASURES = ("centre_error_px", "centre_error_share", "scale_error", "iou")
_SAMPLES = 2000


@dataclass(frozen=True)
class CauseNoise:
    """Accepted tracks of one cause ("right" for those without), and the medians of their errors.

    `scale_error` is of absolute logs. None where no true box is known.
    """

    cause: str
    tracks: int
    share: float
    centre_error_px: float | None
    centre_error_share: float | None
    scale_error: float | None
    iou: float | None

    @property
    def scale_factor(self) -> float | None:
        """The median scale error as a factor, at least 1."""
        return None if self.scale_error is None else math.exp(self.scale_error)


@dataclass(frozen=True)
class ErrorQuantiles:
    """Quantiles of one error over accepted tracks with a known true box; of `iou` the low ones, 10 and 5 %."""

    measure: str
    median: float
    worst_tenth: float
    worst_twentieth: float


@dataclass(frozen=True)
class TrackerNoise:
    """The noise of one tracker on the generated world.

    `windows`: those that were started in time to be followed to their end. `wrong_share`, of accepted tracks, with its
    95 % bootstrap interval (`low`, `high`) by video: None where no track was accepted, or too few videos have one.
    `possible`: windows with which a tracker without error would have been right; `found`: those that gave a right
    track.
    """

    estimator: str
    videos: int
    windows: int
    accepted: int
    right: int
    possible: int
    found: int
    wrong_share: float | None
    low: float | None
    high: float | None
    causes: tuple[CauseNoise, ...]
    quantiles: tuple[ErrorQuantiles, ...]

    def to_json(self) -> dict[str, JSON]:
        return dict(asdict(self))


def measure_noise(
    rows: Sequence[Mapping[str, Any]], estimator: str, num_videos: int, num_windows: int, seed: int
) -> TrackerNoise:
    """The noise behind rows of AUDIT_SCHEMA; `seed` is of the interval's resamples."""
    accepted = [row for row in rows if row["accepted"]]
    possible = [row for row in rows if row["possible"] and row["reason"] != "video_end"]
    wrong = np.array([not row["right"] for row in accepted], np.float64)
    share = low = high = None
    if accepted:
        interval = cluster_interval(wrong, np.array([row["video"] for row in accepted]), _SAMPLES, seed)
        share, low, high = interval.value, interval.low, interval.high
    return TrackerNoise(
        estimator=estimator,
        videos=num_videos,
        windows=num_windows,
        accepted=len(accepted),
        right=len(accepted) - int(wrong.sum()),
        possible=len(possible),
        found=sum(bool(row["accepted"] and row["right"]) for row in possible),
        wrong_share=share,
        low=low,
        high=high,
        causes=tuple(_by_cause(accepted)),
        quantiles=tuple(_quantiles(accepted)),
    )


def noise_from_json(value: JSON) -> TrackerNoise:
    """The noise that `to_json` gave; raises TypeError or KeyError where it is none."""
    if not isinstance(value, Mapping):
        raise TypeError("tracker noise is a JSON object")
    fields: dict[str, Any] = dict(value)
    fields["causes"] = tuple(CauseNoise(**row) for row in fields["causes"])
    fields["quantiles"] = tuple(ErrorQuantiles(**row) for row in fields["quantiles"])
    return TrackerNoise(**fields)


def _by_cause(accepted: Sequence[Mapping[str, Any]]) -> list[CauseNoise]:
    """Right tracks first, then the causes that occur."""
    found = []
    for cause in ("", *CAUSES):
        rows = [row for row in accepted if row["cause"] == cause]
        if rows:
            medians = [
                _rounded(np.median(errors)) if (errors := _errors(rows, name)).size else None for name in MEASURES
            ]
            found.append(CauseNoise(cause or "right", len(rows), len(rows) / len(accepted), *medians))
    return found


def _quantiles(accepted: Sequence[Mapping[str, Any]]) -> list[ErrorQuantiles]:
    found = []
    for name in MEASURES:
        errors = _errors(accepted, name)
        if errors.size:
            places = [0.5, 0.1, 0.05] if name == "iou" else [0.5, 0.9, 0.95]
            found.append(ErrorQuantiles(name, *map(_rounded, np.quantile(errors, places))))
    return found


def _errors(rows: Sequence[Mapping[str, Any]], measure: str) -> npt.NDArray[np.float64]:
    """Absolute errors of the rows whose true box is known."""
    return np.abs([row[measure] for row in rows if row["centre_error_px"] is not None])


def _rounded(value: float) -> float:
    return round(float(value), 4)
