"""What a data set holds in the end, to compare a disturbed run with an undisturbed one, and what was left behind."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.fsck import check
from storage.manifests import read_file, require_manifest
from storage.root import Root
from storage.versions import Version, latest_version, read_version, unit_keys, version_numbers

# Differ by design between two runs of the same units: the seconds that training took, which the report prints.
_MEASURED = {"report.html": re.compile(rb"trained in \d+ s")}


@dataclass(frozen=True)
class Outputs:
    """Everything that the newest version of a data set reaches.

    `files`: digest by (stage, key, name), without what is measured; `facts`: what the version says of sources,
    videos, shards and units, without times.
    """

    files: Mapping[tuple[str, str, str], str]
    facts: Mapping[str, object]


def read_outputs(root: Root, dataset: str) -> Outputs:
    """Reads and verifies every file; raises RootError where one is missing or damaged."""
    version = latest_version(root, dataset)
    files = {}
    for stage, key in unit_keys(version):
        for name, file in require_manifest(root, stage, key).files.items():
            data = read_file(root, file)
            if name in _MEASURED:
                data = _MEASURED[name].sub(b"", data)
            files[stage, key, name] = hashlib.sha256(data).hexdigest()
    return Outputs(files, _facts(version))


def differences(reference: Outputs, found: Outputs) -> list[str]:
    """In words, what a disturbed run made otherwise; empty where all is the same."""
    told = [f"missing: {'/'.join(place)}" for place in reference.files.keys() - found.files.keys()]
    told += [f"not in the reference: {'/'.join(place)}" for place in found.files.keys() - reference.files.keys()]
    shared = reference.files.keys() & found.files.keys()
    told += [f"other bytes: {'/'.join(place)}" for place in shared if reference.files[place] != found.files[place]]
    return sorted(told) + [
        f"version: {name} is {found.facts[name]}, in the reference {value}"
        for name, value in reference.facts.items()
        if found.facts[name] != value
    ]


def lost_entries(root: Root, dataset: str) -> list[str]:
    """In words, gaps between the versions of a data set, and entries that a later version has lost."""
    numbers = version_numbers(root, dataset)
    told = [] if numbers == list(range(1, len(numbers) + 1)) else [f"versions are not numbered in a row: {numbers}"]
    before: Version | None = None
    for number in numbers:
        version = read_version(root, dataset, number)
        if before is not None:
            gone = {*before.sources, *before.videos, *before.units} - {
                *version.sources,
                *version.videos,
                *version.units,
            }
            told += [f"version {number} lost {name}" for name in sorted(gone)]
        before = version
    return told


def damages(root: Root) -> list[str]:
    """In words, what `fsck` calls broken."""
    return [
        f"fsck: {finding.kind} {finding.path}: {finding.words}" for finding in check(root).findings if finding.is_broken
    ]


def temporaries(folder: Path) -> list[str]:
    """Files of a local root that a writer left half-written."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if path.is_file())


def _facts(version: Version) -> dict[str, object]:
    """Entries by name, each with what two runs have in common: everything but times."""
    return {
        "sources": {name: (entry.key, entry.video, entry.failure is None) for name, entry in version.sources.items()},
        "videos": {
            name: (entry.key, entry.tracks, entry.group, entry.split, entry.failure is None)
            for name, entry in version.videos.items()
        },
        "shards": [(shard.key, shard.split, shard.tracks, shard.pairs) for shard in version.shards],
        "units": {name: str(getattr(unit, "key", unit)) for name, unit in version.units.items()},
    }
