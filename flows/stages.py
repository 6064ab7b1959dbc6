"""The order of the five stages, in one place: the pipeline and the nightly refresh both run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flows.download import download
from flows.evaluate import evaluate
from flows.forms import select
from flows.shard import shard
from flows.track import track
from flows.train import train

STAGES = ("download", "track", "shard", "train", "evaluate")

Summary = dict[str, Any]
"""What a stage flow returns: stage, dataset, version, committed, cached, failed, seconds, counts, note, pending."""


def run_stages(
    root: str,
    dataset: str,
    sources: str,
    fields: Mapping[str, Any],
    *,
    only: str = "",
    expand: bool = False,
    left_out: Callable[[], Mapping[str, str]] = dict,
) -> Iterator[Summary]:
    """Run every stage as its own flow, and give each one's summary as soon as it ends.

    `only`: a part of the sources; `expand`: read lists again. `left_out` is asked once the shards are there: which of
    train and evaluate to leave out, and why.
    """
    where: dict[str, Any] = {"root": root, "dataset": dataset}
    fetch = {**where, "sources": sources, "only": only, **select(fields, "download", "execution")}
    follow = {**where, "only": only, **select(fields, "track", "execution")}
    yield download(**fetch, expand=expand)  # type: ignore[misc]  # the data of the state that it returns
    tracked = track(**follow)
    yield tracked
    if tracked["wanting"]:  # bytes that were dropped once tracked are needed again
        yield download(**fetch)  # type: ignore[misc]
        yield track(**follow)
    yield shard(**where, **select(fields, "shard", "seed", "execution"))
    notes = left_out()
    for stage, sections in ((train, ("train",)), (evaluate, ("evaluate", "track"))):
        if note := notes.get(stage.name):
            yield _left_out(stage.name, dataset, note)
        else:
            yield stage(**where, **select(fields, *sections, "seed", "execution"))


def _left_out(stage: str, dataset: str, note: str) -> Summary:
    numbers = {"version": 0, "committed": 0, "cached": 0, "failed": 0, "seconds": 0.0, "pending": 0}
    return {"stage": stage, "dataset": dataset, **numbers, "counts": {}, "note": note}
