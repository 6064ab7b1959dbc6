"""`fsck --repair`: drop what is broken, so that the next run makes just that again.

A table of metadata alone is made again here, since the manifests say it all. Then, in this order, so that whatever
moment it is killed in, a second check finds the rest: the manifest of a broken unit, then the broken file, then the
unit's name in the newest version of each data set. Holds a "gc" lease, so that runs that begin wait, and leaves alone
what a live run has planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from storage.contents import Progress, examine_file, examine_manifest, no_progress
from storage.findings import REPAIRABLE, UNREPAIRABLE, Finding, Report
from storage.history import UnitName
from storage.layout import named_digest, place_of
from storage.manifests import Manifest, manifest_path
from storage.metadata import Row, rows_from_manifests
from storage.protection import LiveWork, collecting, live_work
from storage.root import Root, RootError, StoreUnavailable
from storage.versions import (
    Version,
    dataset_names,
    latest_version,
    read_head,
    unit_keys,
    unit_stage,
    update_version,
    version_numbers,
    version_path,
)

ActionKind = Literal[
    "made_again", "removed_manifest", "removed_file", "new_version",
    "left",  # in use, or sound again since the check
    "advice",  # what to do by hand
]  # fmt: skip
_WITH_FILE = frozenset({"flipped", "truncated", "grown", "damaged_video", "damaged_checkpoint", "damaged_ledger"})


@dataclass(frozen=True)
class Action:
    """What was done about a finding, or why it was not."""

    kind: ActionKind
    path: str
    words: str


def repair(root: Root, report: Report, *, progress: Progress = no_progress) -> list[Action]:
    """Drop the broken commits of a report and name them no more; returns what was done, in order.

    Every fault is looked at again first. Orphans are left to `gc`; a version that cannot be read and a manifest of
    a newer Tritrack are left to the user, with advice. Raises RootError where the store cannot be written, another
    collector is live, or the report is of another root.
    """
    if report.root != root.url:
        raise RootError(f"fsck: the report is of {report.root}, not of {root.url}; check this root first")
    faults = [finding for finding in report.findings if finding.kind in REPAIRABLE]
    with collecting(root, "repair"):
        live = live_work(root)
        left: list[Action] = []
        doomed: list[Finding] = []
        for done, finding in enumerate(faults, 1):
            if reason := _reason_to_leave(root, finding, live):
                left.append(Action("left", finding.path, reason))
            else:
                doomed.append(finding)
            progress(done, len(faults), "looking again")
        actions = [*left, *_make_metadata_again(root, doomed)]
        actions += [*_drop_manifests(root, doomed), *_drop_files(root, doomed)]
        broken = {unit for finding in doomed if finding.kind != "damaged_checkpoint" for unit in finding.units}
        actions += _name_no_more(root, broken)
    return actions + [_advice(finding) for finding in report.findings if finding.kind in UNREPAIRABLE]


def without_units(version: Version, broken: Set[UnitName]) -> Version:
    """The version with broken units named no more; a pure function.

    A source and a video keep their entry, group and split, with an empty key: to be made again. So do the sources
    of a video whose tracks are broken and whose bytes were dropped, for these are needed again.
    """
    if not broken:
        return version

    def gone(stage: str, key: str) -> bool:
        return bool(key) and (stage, key) in broken

    def accepted(stage: str, key: str) -> str:
        return "" if gone(stage, key) else key

    videos = {
        video: replace(
            entry,
            key="" if gone("track", entry.key) else entry.key,
            accepted="" if gone("track", entry.key) else accepted("track", entry.accepted),
        )
        for video, entry in version.videos.items()
    }
    wanted = {video for video, entry in videos.items() if entry.dropped and entry != version.videos[video]}
    sources = {
        source: replace(entry, key="") if gone("download", entry.key) or entry.video in wanted else entry
        for source, entry in version.sources.items()
    }
    shards = tuple(
        replace(shard, accepted=accepted("shard", shard.accepted))
        for shard in version.shards
        if not gone("shard", shard.key)
    )
    units = {
        name: replace(unit, accepted=accepted(unit_stage(name), unit.accepted))
        for name, unit in version.units.items()
        if not gone(unit_stage(name), unit.key)
    }
    return replace(version, sources=sources, videos=videos, shards=shards, units=units)


def _reason_to_leave(root: Root, finding: Finding, live: LiveWork) -> str:
    """Why a finding must not be acted on now; empty where it must."""
    if not live.keys.isdisjoint(key for _, key in finding.units):
        return "a live run is at this unit; repair again when it has ended"
    if live.has_run and finding.path.startswith("videos/"):
        return "a live run may be about to use this video; repair again when it has ended"
    return "" if _is_still_broken(root, finding) else "it is sound by now"


def _is_still_broken(root: Root, finding: Finding) -> bool:
    match finding.kind:
        case "damaged_video" | "damaged_checkpoint" | "damaged_ledger":
            try:
                return not root.digest(finding.path)[0].startswith(_own_digest(finding.path))
            except FileNotFoundError:
                return False
        case "lost_unit":
            return not root.exists(finding.path)
        case "damaged_metadata":
            return any(_names_broken_table(root, name, finding.path) for name in finding.datasets)
        case "damaged_manifest" | "dangling_alias":
            return any(_is_unsound(root, unit) for unit in finding.units)
        case _:
            return any(_names_broken_file(root, unit, finding.path) for unit in finding.units)


def _own_digest(path: str) -> str:
    place = place_of(path)
    return place.key if place.kind == "video" else named_digest(path)


def _is_unsound(root: Root, unit: UnitName) -> bool:
    found = examine_manifest(root, *unit)
    if isinstance(found, Manifest):
        return found.accepted is not None and not root.exists(manifest_path(unit[0], found.accepted.key))
    return found is None or found.kind == "damaged_manifest"


def _names_broken_file(root: Root, unit: UnitName, path: str) -> bool:
    found = examine_manifest(root, *unit)
    files = [file for file in found.files.values() if file.path == path] if isinstance(found, Manifest) else []
    return any(examine_file(root, file, quick=False) for file in files)


def _names_broken_table(root: Root, dataset: str, path: str) -> bool:
    named = read_head(root, dataset, version_numbers(root, dataset)[-1]).tables.get("metadata")
    return named is not None and named.path == path and examine_file(root, named, quick=False) is not None


def _make_metadata_again(root: Root, doomed: Iterable[Finding]) -> Iterator[Action]:
    """From the manifests of the download units. The rows of sources whose units are not named any more are lost."""
    for finding in doomed:
        for name in finding.datasets if finding.kind == "damaged_metadata" else ():
            before = latest_version(root, name)
            rows = rows_from_manifests(root, before)
            note = f"fsck: metadata of {len(rows)} sources made again"
            following = update_version(root, name, partial(_with_metadata, path=finding.path, rows=rows), note)
            yield Action("made_again", finding.path, f"{len(rows)} rows from the manifests of the download units")
            if following.number != before.number:
                yield Action("new_version", version_path(name, following.number), note)


def _with_metadata(version: Version, path: str, rows: Mapping[str, Row]) -> Version:
    """The version with these rows in the place of the table at a path; as it is where it names that no more."""
    table = version.tables.get("metadata")
    if table is None or table.path != path:
        return version
    return replace(version, tables={n: file for n, file in version.tables.items() if n != "metadata"}, fetched=rows)


def _drop_manifests(root: Root, doomed: Iterable[Finding]) -> Iterator[Action]:
    dropped: set[UnitName] = set()
    for finding in doomed:
        if finding.kind in ("lost_unit", "damaged_checkpoint", "damaged_metadata"):
            continue  # there is none
        for unit in finding.units:
            if unit not in dropped:
                dropped.add(unit)
                path = manifest_path(*unit)
                root.remove(path)
                yield Action("removed_manifest", path, f"{finding.kind}: {finding.path}")


def _drop_files(root: Root, doomed: Iterable[Finding]) -> Iterator[Action]:
    for finding in doomed:
        if finding.kind in _WITH_FILE:
            root.remove(finding.path)
            yield Action("removed_file", finding.path, finding.kind)


def _name_no_more(root: Root, broken: Set[UnitName]) -> Iterator[Action]:
    for name in dataset_names(root) if broken else ():
        try:
            named = broken & set(unit_keys(latest_version(root, name)))
        except StoreUnavailable:
            raise
        except RootError as error:
            yield Action("advice", f"datasets/{name}", str(error))
            continue
        if named:
            note = f"fsck: {len(named)} broken units to be made again"
            following = update_version(root, name, lambda version: without_units(version, broken), note)
            yield Action("new_version", version_path(name, following.number), note)


def _advice(finding: Finding) -> Action:
    is_newer = finding.kind in ("newer_manifest", "newer_head")
    return Action("advice", finding.path, "update Tritrack, which reads it then" if is_newer else finding.words)
