"""Forget units that stand, so that the next run makes them again."""

from __future__ import annotations

from collections.abc import Collection

from storage.history import UnitName
from storage.manifests import manifest_path, read_manifest
from storage.protection import live_work
from storage.repair import without_units
from storage.root import Root
from storage.versions import dataset_names, latest_version, unit_keys, update_version


def forget_units(root: Root, units: Collection[UnitName], until: str, note: str) -> int:
    """Name units that were committed until a time (ISO 8601, UTC) no more, and drop their commits; how many.

    Both times are of whole seconds, and of the same second a unit goes: what is asked for is made again.

    First the newest versions, then the manifests: killed between the two, the next run finds the units committed. Left
    alone is what a live run has planned. Units that several data sets share are made again for all of them.
    """
    live = live_work(root).keys
    doomed = {
        (stage, key)
        for stage, key in units
        if key not in live and (standing := read_manifest(root, stage, key)) and standing.created <= until
    }
    if not doomed:
        return 0
    for name in dataset_names(root):
        if doomed.intersection(unit_keys(latest_version(root, name))):
            update_version(root, name, lambda version: without_units(version, doomed), note)
    root.remove_many(manifest_path(*unit) for unit in sorted(doomed))
    return len(doomed)
