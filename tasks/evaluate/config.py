"""Configuration of the evaluate stage."""

from __future__ import annotations

from pydantic import Field

from tasks.configuration import StageConfig
from tasks.evaluate import BENCHMARKS


class EvaluateConfig(StageConfig):
    """Which benchmarks run, and on what. A field that starts with a benchmark's name enters only that one's key."""

    benchmarks: tuple[str, ...] = Field(
        tuple(BENCHMARKS), description="Benchmarks to run, in this order; one whose data is not named is left out."
    )
    labels: str = Field(
        "", description="Parquet file of labelled boxes in the data set's videos; empty: no classification."
    )
    supervised: str = Field(
        "", description="Folder of an exported network that labels trained: a column of its own beside the trained one."
    )
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Resamples behind each interval.")
    audit_videos: int = Field(
        12, ge=0, le=1000, description="Generated videos on which the report measures the tracker's errors; 0: none."
    )
    classification_crops_per_video: int = Field(
        150, ge=1, description="Most labelled boxes taken from one video, drawn by the seed."
    )
    classification_min_visibility: float = Field(
        0.5, ge=0, le=1, description="Labelled boxes that are less visible than this are left out."
    )
