"""How the outcomes of a stage become the next data set version: pure functions of the version that stands.

They may be applied again to another writer's version, and a second time to their own (a store that lost the answer
to a write), so each gives the same result the second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flows.plan import ShardPlan, SourceList, no_longer_named
from storage.keys import JSON, Recipe
from storage.versions import Failure, SourceEntry, UnitEntry, Version, VideoEntry
from tasks.batch import Outcome
from tasks.download.key import key_document as download_document
from tasks.presets import RunConfig


def record_download(
    version: Version, given: SourceList, config: RunConfig, outcomes: Mapping[str, Outcome], time: str = ""
) -> Version:
    """`outcomes` by key; sources without one keep their entry, and those that their list left out get a tombstone.

    `time`: of the tombstones, ISO 8601.
    """
    entries, recipes = dict(version.sources), dict(version.recipes)
    for left_out in no_longer_named(version, given, config):
        entries[left_out] = replace(entries[left_out], removed=time or "removed")
    for source in given.sources:
        document = download_document(config.download, source)
        entry = entries.get(source.id)
        if outcome := outcomes.get(document.key):
            recipes[document.recipe.digest] = document.recipe.to_json()
            failure = _counted(outcome.failure, entry)
            standing = entry.video if entry else None
            video = str(outcome.facts["video"]) if failure is None else standing
            entry = SourceEntry(source.location, outcome.key, document.recipe.digest, video, failure)
            before = entries.get(source.id, entry)
            size = outcome.counts.get("bytes", 0) if failure is None else before.size
            entry = replace(entry, origin=before.origin, size=size)
        if entry is not None:
            entries[source.id] = replace(entry, removed="", origin=given.origin or entry.origin)
    returned = {str(outcome.facts["video"]) for outcome in outcomes.values() if not outcome.failure}
    videos = {
        video: replace(one, dropped=False) if one.dropped and video in returned else one
        for video, one in version.videos.items()
    }
    return replace(version, sources=entries, videos=videos, recipes=recipes)


def record_track(version: Version, outcomes: Mapping[str, Outcome], recipes: Iterable[Recipe] = ()) -> Version:
    """A video keeps the group and split that it was given once. `recipes`: of the units that ran (one)."""
    entries = dict(version.videos)
    known = {recipe.digest: recipe.to_json() for recipe in recipes}
    for outcome in outcomes.values():
        standing = entries.get(outcome.item)
        unit = unit_entry(outcome)
        entries[outcome.item] = VideoEntry(
            key=unit.key,
            recipe=next(iter(known), ""),
            tracks=outcome.counts.get("tracks", 0),
            signature=_joined(outcome.facts.get("signature")),
            group=standing.group if standing else "",
            split=standing.split if standing else None,
            failure=_counted(outcome.failure, standing),
            accepted=unit.accepted,
            dropped=standing.dropped if standing else False,
        )
    return replace(version, videos=entries, recipes={**version.recipes, **known})


def want_again(version: Version, videos: Iterable[str]) -> Version:
    """Mark the sources of dropped videos as to be fetched again."""
    wanted = set(videos)
    sources = {
        source: replace(entry, key="") if entry.video in wanted else entry for source, entry in version.sources.items()
    }
    return replace(version, sources=sources)


def drop_tracked(version: Version, videos: Iterable[str]) -> Version:
    """Mark videos whose bytes are dropped, since their tracks are committed."""
    gone = set(videos)
    entries = {
        video: replace(entry, dropped=True) if video in gone else entry for video, entry in version.videos.items()
    }
    return replace(version, videos=entries)


def record_shard(version: Version, plan: ShardPlan, outcomes: Mapping[str, Outcome]) -> Version:
    """`outcomes` by key, that of the triplet index among them."""
    shards = []
    for shard in plan.shards:
        if outcome := outcomes.get(shard.key):
            unit = unit_entry(outcome)
            shard = replace(shard, pairs=outcome.counts["pairs"], key=unit.key, accepted=unit.accepted)
        shards.append(shard)
    units = dict(version.units)
    if plan.triplets and plan.triplets.key in outcomes:
        units["triplets"] = unit_entry(outcomes[plan.triplets.key])
    recipes = {unit.document.recipe.digest: unit.document.recipe.to_json() for unit in plan.stage.units[:1]}
    return replace(
        version,
        videos={**version.videos, **plan.videos},
        shards=tuple(shards),
        units=units,
        recipes={**version.recipes, **recipes},
    )


def record_units(version: Version, units: Mapping[str, UnitEntry]) -> Version:
    """Name the units that reduce over the data set: "train", "evaluate/<benchmark>"."""
    return replace(version, units={**version.units, **units})


def unit_entry(outcome: Outcome) -> UnitEntry:
    """The unit that an outcome stands for, and the key that it was accepted for."""
    return UnitEntry(outcome.accepted, outcome.key) if outcome.accepted else UnitEntry(outcome.key)


def _counted(failure: Failure | None, before: SourceEntry | VideoEntry | None) -> Failure | None:
    """The failure with the attempts that came before counted in; one that stands already is not counted twice."""
    standing = before.failure if before else None
    if failure is None or standing is None or (standing.time, standing.words) == (failure.time, failure.words):
        return standing if failure is not None and standing is not None else failure
    return replace(failure, attempts=standing.attempts + failure.attempts)


def _joined(signature: JSON) -> str:
    return "".join(map(str, signature)) if isinstance(signature, (list, tuple)) else ""
