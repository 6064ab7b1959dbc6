"""Run one benchmark and commit its scores: the entry of the evaluate stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, cast

from storage.keys import KeyDocument
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.tables import table_bytes
from tasks.device import resolve_device
from tasks.evaluate import BENCHMARKS
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.context import Context, Result
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.judged import load_judged
from tasks.evaluate.neighbours import NEIGHBOUR_SCHEMA
from tasks.evaluate.resuming import Attempts
from tasks.evaluate.scores import DRAW_SCHEMA, Score, draw_records, record_of
from tasks.records import SCORE_SCHEMA, Progress, no_progress
from tasks.variants import load_variant

_log = logging.getLogger(__name__)


class Benchmark(Protocol):
    """The module of a benchmark."""

    def run(self, context: Context) -> Result: ...


def run_benchmark(
    root: Root,
    name: str,
    inputs: Inputs,
    config: EvaluateConfig,
    seed: int,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Score a network by one benchmark and commit the unit.

    Files: `scores.parquet` (SCORE_SCHEMA), `draws.parquet` (DRAW_SCHEMA, what other units are compared by) and
    `neighbours.parquet` (NEIGHBOUR_SCHEMA, pictures of the report), beside those of the benchmark's own. Raises
    ValueError for an unknown benchmark or data that cannot be read, RootError where an upstream unit is missing or
    damaged.
    """
    started = time.monotonic()
    benchmark = cast(Benchmark, load_variant(BENCHMARKS, name, "benchmark"))
    context = Context(
        root=root,
        judged=load_judged(root, inputs),
        triplets=require_manifest(root, "shard", inputs.triplets) if inputs.triplets else None,
        data=inputs.data,
        config=config,
        seed=seed,
        device=resolve_device(device),
        attempts=Attempts(root, document),
        proposals=inputs.proposals,
        progress=progress,
    )
    result = benchmark.run(context)
    manifest = commit_result(root, document, result, time.monotonic() - started, str(context.device))
    context.attempts.clear()
    _log.info("evaluated %s: %s, in %.1f s", name, _headline(result.scores), manifest.seconds)
    return manifest


def commit_result(root: Root, document: KeyDocument, result: Result, seconds: float, device: str) -> Manifest:
    """Commit what a benchmark gave; its local files are removed."""
    try:
        return commit(
            root,
            document,
            {
                "scores.parquet": table_bytes([record_of(score) for score in result.scores], SCORE_SCHEMA),
                "draws.parquet": table_bytes(draw_records(result.scores), DRAW_SCHEMA),
                "neighbours.parquet": table_bytes([asdict(row) for row in result.neighbours], NEIGHBOUR_SCHEMA),
                **result.files,
            },
            counts=result.counts,
            facts=result.facts,
            seconds=seconds,
            device=device,
        )
    finally:
        for content in result.files.values():
            if isinstance(content, Path):
                content.unlink(missing_ok=True)


def _headline(scores: Sequence[Score]) -> str:
    if not scores:
        return "no scores"
    metric = scores[0].metric
    known = [
        f"{score.features} {score.value:.3f}" for score in scores if score.metric == metric and score.value is not None
    ]
    return f"{metric} {', '.join(known)}" if known else f"{metric}: {scores[0].note}"
