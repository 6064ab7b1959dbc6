"""`accept`: let what was committed by other code or other libraries stand for the present ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from flows.benchmarks import audit_unit
from flows.plan import plan_evaluate, plan_shard, plan_train, stands, unit_name
from storage.concurrency import in_threads
from storage.keys import KeyDocument, is_blessable, recipe_differences
from storage.manifests import Manifest, accept, read_manifest
from storage.root import Root
from storage.versions import ShardEntry, UnitEntry, Version, VideoEntry, reached_videos, update_version
from tasks.presets import RunConfig
from tasks.shard.key import shard_document
from tasks.track.key import key_document as track_document

Entry = TypeVar("Entry", VideoEntry, ShardEntry, UnitEntry)


@dataclass(frozen=True)
class Acceptance:
    """What `accept` did: units that stand for the present code now, by what was waved through, and the others.

    `refused`: why units could not be accepted (something that the user asked for differs), with their number.
    """

    stage: str
    accepted: Mapping[str, int]
    refused: Mapping[str, int]
    version: int


@dataclass(frozen=True)
class _Candidate:
    """An entry of the version (its name within its kind, and its key) and the document that it should have now."""

    name: str
    key: str
    document: KeyDocument


def accept_stage(root: Root, version: Version, config: RunConfig, stage: str) -> Acceptance:
    """Bless a stage's committed units for the present code and libraries, where nothing else differs.

    Each gets a manifest under its new key that names the standing unit's files and what was waved through; the
    next version names both keys, and stages after it go on using the old one. Nothing is computed. A parameter, a
    seed or an input that differs is refused: that output is another one. Raises ValueError for the download
    stage, whose keys hold no code.
    """
    if stage == "download":
        raise ValueError("accept: download has nothing to accept; its keys hold neither code nor library versions")
    found: dict[str, str] = {}
    accepted = Counter[str]()
    refused: dict[str, str] = {}  # by name
    tried: set[tuple[str, str]] = set()
    # What was accepted lets more be accepted: a report's inputs are its benchmarks.
    while fresh := [
        one for one in _candidates(version, config, stage, found) if (one.key, one.document.key) not in tried
    ]:
        tried |= {(one.key, one.document.key) for one in fresh}
        for candidate, why, differences in in_threads(partial(_bless, root), fresh):
            if why:
                refused[candidate.name] = why
            else:
                refused.pop(candidate.name, None)
                accepted[differences] += 1
                found[candidate.key] = candidate.document.key
    left = {candidate.name for candidate in _candidates(version, config, stage, found)}
    refused = {name: why for name, why in refused.items() if name in left}  # without those whose inputs stand by now
    if found:
        note = f"accept: {len(found)} {stage} units for the present code"
        version = update_version(root, version.name, lambda current: _with_aliases(current, found), note)
    return Acceptance(stage, accepted, Counter(refused.values()), version.number)


def _candidates(version: Version, config: RunConfig, stage: str, found: Mapping[str, str]) -> list[_Candidate]:
    return list(_CANDIDATES[stage](_with_aliases(version, found), config))


def _bless(root: Root, candidate: _Candidate) -> tuple[_Candidate, str, str]:
    """Let one unit stand for its document; gives why it was refused, or nothing and what was waved through."""
    standing = read_manifest(root, candidate.document.stage, candidate.key)
    if standing is None or (why := _refusal(standing, candidate.document)):
        return candidate, why if standing else "its commit is gone", ""
    differences = recipe_differences(standing.recipe.to_json(), candidate.document.recipe.to_json())
    accept(root, candidate.document, standing, differences)
    return candidate, "", "; ".join(differences)


def _refusal(standing: Manifest, document: KeyDocument) -> str:
    """Why a unit cannot stand for a document, or nothing where it can."""
    before, after = standing.recipe.to_json(), document.recipe.to_json()
    if standing.document.get("inputs") != document.to_json()["inputs"]:
        return "its inputs differ"
    if not is_blessable(before, after):
        return "; ".join(recipe_differences(before, after))
    return ""


def _with_aliases(version: Version, found: Mapping[str, str]) -> Version:
    """Entries whose key was accepted for another name that one too."""

    def named(entry: Entry) -> Entry:
        return replace(entry, accepted=found[entry.key]) if entry.key in found else entry

    return replace(
        version,
        videos={video: named(entry) for video, entry in version.videos.items()},
        shards=tuple(map(named, version.shards)),
        units={name: named(entry) for name, entry in version.units.items()},
    )


def _track_candidates(version: Version, config: RunConfig) -> Iterator[_Candidate]:
    for video in sorted(reached_videos(version)):
        entry = version.videos.get(video)
        document = track_document(config.track, video)
        if entry is not None and entry.key and not entry.failure and not stands(entry, document):
            yield _Candidate(video, entry.key, document)
    audit = audit_unit(config).document  # its key holds the tracker's code too
    if config.evaluate.audit_videos and not stands(version.units.get("audit"), audit):
        yield from _units(version, {"audit": audit})


def _shard_candidates(version: Version, config: RunConfig) -> Iterator[_Candidate]:
    waiting = False
    for shard in version.shards:
        document = shard_document(config.shard, shard.split, shard.tracks)
        if not stands(shard, document):
            waiting = True
            yield _Candidate(shard.key, shard.key, document)
    triplets = plan_shard(version, config).triplets
    if triplets and not waiting:
        yield from _units(version, {"triplets": triplets.document})


def _train_candidates(version: Version, config: RunConfig) -> Iterator[_Candidate]:
    return _units(version, {unit.document.stage: unit.document for unit in plan_train(version, config).units})


def _evaluate_candidates(version: Version, config: RunConfig) -> Iterator[_Candidate]:
    units = plan_evaluate(version, config).units
    return _units(version, {unit_name(unit): unit.document for unit in units})


def _units(version: Version, documents: Mapping[str, KeyDocument]) -> Iterator[_Candidate]:
    for name, document in documents.items():
        entry: UnitEntry | None = version.units.get(name)
        if entry is not None:
            yield _Candidate(name, entry.key, document)


_CANDIDATES: Mapping[str, Callable[[Version, RunConfig], Iterator[_Candidate]]] = {
    "track": _track_candidates,
    "shard": _shard_candidates,
    "train": _train_candidates,
    "evaluate": _evaluate_candidates,
}
