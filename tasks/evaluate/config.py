"""Configuration of the evaluate stage."""

from __future__ import annotations

from pydantic import Field

from tasks.configuration import StageConfig


class EvaluateConfig(StageConfig):
    """Which benchmarks run, and on what."""

    benchmarks: tuple[str, ...] = Field(
        ("retrieval", "classification"), description="Benchmarks to run, in this order."
    )
    labels: str = Field(
        "", description="Parquet file of labelled boxes in the data set's videos; empty: no classification."
    )
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Resamples behind each interval.")
