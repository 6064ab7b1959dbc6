"""The order of the five stages, in one place: the pipeline and the nightly refresh both run it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flows.again import forget
from flows.deployed import Children, Summary
from flows.download import download
from flows.evaluate import evaluate
from flows.forms import select, unflatten
from flows.parameters import STAGES, StageName
from flows.plan import plan_download
from flows.selection import SourceList
from flows.shard import shard
from flows.sources import given_sources
from flows.track import track
from flows.train import train
from storage.root import open_root
from storage.versions import Version, latest_version
from tasks.presets import RunConfig

_MOST_WAVES = 16  # each costs two flow runs, and tracking is hardly ever idle with so many


@dataclass(frozen=True)
class Wanted:
    """What a user wants of a run beside what is missing.

    `from_stage`: the stages before it are left out. `only_failed`: download and track try what failed before, whatever
    its class, and nothing else. `force_until`: what was committed until this time (ISO 8601, UTC) is made again;
    nothing where it is empty.
    """

    from_stage: StageName = "download"
    only_failed: bool = False
    force_until: str = ""


EVERYTHING = Wanted()


def run_stages(
    root: str,
    dataset: str,
    sources: str,
    fields: Mapping[str, Any],
    *,
    only: str = "",
    expand: bool = False,
    wanted: Wanted = EVERYTHING,
    left_out: Callable[[], Mapping[str, str]] = dict,
    children: Children | None = None,
) -> Iterator[Summary]:
    """Run every stage as its own flow, and give each one's summary as soon as it ends.

    `only`: a part of the sources; `expand`: read lists again. `left_out` is asked once the shards are there: which of
    train and evaluate to leave out, and why. `children`: starts each stage as a run of its own deployment, on whichever
    worker takes it, and tracks while sources are still fetched; None: all in this process.
    """
    run = children.run if children else _run_here
    where: dict[str, Any] = {"root": root, "dataset": dataset}
    part: dict[str, Any] = {"only": only} | ({"only_failed": True} if wanted.only_failed else {})
    fetch = {**where, "sources": sources, **part, **select(fields, "download", "execution")}
    follow = {**where, **part, **select(fields, "track", "execution")}

    def due(stage: str) -> bool:
        """Whether a stage is to run; where it is made again, what stands of it is forgotten first."""
        is_due = STAGES.index(stage) >= STAGES.index(wanted.from_stage)
        if is_due and wanted.force_until:
            forget(open_root(root), dataset, stage, fields, until=wanted.force_until, sources=sources, only=only)
        return is_due

    if due("download"):
        if children and not only and not wanted.only_failed:
            yield from _fetch_in_waves(children, fetch, follow)
        yield run("download", {**fetch, "expand": expand})
    if children and children.is_running("track"):
        yield children.wait("track")
    if due("track"):
        tracked = run("track", follow)
        yield tracked
        if tracked["wanting"]:  # bytes that were dropped once tracked are needed again
            yield run("download", fetch)
            yield run("track", follow)
    if due("shard"):
        yield run("shard", {**where, **select(fields, "shard", "seed", "execution")})
    notes = left_out()
    for stage, sections in (("train", ("train",)), ("evaluate", ("evaluate", "track"))):
        if note := notes.get(stage):
            yield _left_out(stage, dataset, note)
        elif due(stage):
            yield run(stage, {**where, **select(fields, *sections, "seed", "execution")})


def _run_here(stage: str, parameters: Mapping[str, Any]) -> Summary:
    """A stage as a flow of this process."""
    flow = {"download": download, "track": track, "shard": shard, "train": train, "evaluate": evaluate}[stage]
    summary: Summary = flow(**parameters)  # type: ignore[operator]  # the data of the state that it returns
    return summary


def _fetch_in_waves(children: Children, fetch: Mapping[str, Any], follow: Mapping[str, Any]) -> Iterator[Summary]:
    """All waves of a long list but the last; what each brought is tracked while the next is fetched."""
    root, config = open_root(fetch["root"]), unflatten(select(fetch, "download", "execution"))
    version = latest_version(root, fetch["dataset"])
    given = given_sources(fetch["sources"], version, config.download.allow_stores)
    for places in _waves(version, given, config)[:-1]:
        yield children.run("download", {**fetch, "only": places})
        if children.is_running("track") and children.has_ended("track"):
            yield children.wait("track")
        if not children.is_running("track"):
            children.start("track", follow)


def _waves(version: Version, given: SourceList, config: RunConfig) -> list[str]:
    """What is to be fetched, in parts for `flows.selection.select`: 16 at most, of `execution.wave_sources` or more."""
    places = {source.id: place for place, source in enumerate(sorted(given, key=lambda source: source.id))}
    due = sorted(places[str(unit.document.inputs["source"])] for unit in plan_download(version, given, config).units)
    size = max(config.execution.wave_sources, -(-len(due) // _MOST_WAVES))
    starts = due[::size]
    return [f"{start}:{end}" for start, end in itertools.pairwise([*starts, len(places)])]


def _left_out(stage: str, dataset: str, note: str) -> Summary:
    numbers = {"version": 0, "committed": 0, "cached": 0, "failed": 0, "seconds": 0.0, "pending": 0}
    return {"stage": stage, "dataset": dataset, **numbers, "counts": {}, "note": note}
