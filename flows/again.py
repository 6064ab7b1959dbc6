"""What `force` makes again: the commits of a stage that are older than the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from flows.forms import unflatten
from flows.selection import select, videos_of
from flows.sources import given_sources
from flows.this_run import this_flow_run
from storage.forgetting import forget_units
from storage.history import UnitName
from storage.root import Root
from storage.versions import Version, latest_version, unit_keys
from tasks.presets import RunConfig

_OWN_STAGES = {"evaluate": frozenset({"evaluate", "audit", "proposals"})}  # units of a stage that are stored apart
_log = logging.getLogger(__name__)


def run_created() -> str:
    """When the present flow run was created (ISO 8601, UTC); a retry of it is no later one."""
    run = this_flow_run()
    assert run is not None, "called from a flow"
    assert run.created is not None, "the server says when"
    return run.created.astimezone(UTC).isoformat(timespec="seconds")


def forget(
    root: Root, dataset: str, stage: str, fields: Mapping[str, Any], *, until: str, sources: str = "", only: str = ""
) -> None:
    """Let a stage make again what the data set's newest version holds of it, where it was committed until a time.

    `only`, of `sources`: a part of what download and track hold.
    """
    version = latest_version(root, dataset)
    units = _units_of(version, stage, unflatten(fields), sources, only)
    if number := forget_units(root, units, until, f"{stage}: forced"):
        _log.info("%s: %d units that were committed until %s are made again", stage, number, until)


def _units_of(version: Version, stage: str, config: RunConfig, sources: str, only: str) -> set[UnitName]:
    if only and stage == "download":
        given = given_sources(sources, version, config.download.allow_stores)
        chosen = {source.id for source in select(given, only, config.execution.batch_units)}
        return {("download", entry.key) for source, entry in version.sources.items() if source in chosen and entry.key}
    if only and stage == "track":
        videos = videos_of(version, only, config.execution.batch_units) or set()
        return {("track", entry.key) for video, entry in version.videos.items() if video in videos and entry.key}
    stages = _OWN_STAGES.get(stage, frozenset({stage}))
    return {unit for unit in unit_keys(version) if unit[0] in stages}
