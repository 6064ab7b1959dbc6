"""How the outcomes of a stage become the next data set version: pure functions of the version that stands.

They may be applied again to another writer's version, and a second time to their own (a store that lost the answer
to a write), so each gives the same result the second time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from flows.plan import ShardPlan, SourceList
from storage.keys import JSON, Recipe
from storage.versions import Failure, SourceEntry, UnitEntry, Version, VideoEntry
from tasks.batch import Outcome
from tasks.download.key import key_document as download_document
from tasks.presets import RunConfig


def record_download(
    version: Version,
    given: SourceList,
    config: RunConfig,
    outcomes: Mapping[str, Outcome],
    left_out: Collection[str] = (),
    time: str = "",
) -> Version:
    """`outcomes` by key; sources without one keep their entry.

    `left_out`: ids that the list did not name when the run was planned; who is named by no other list gets a
    tombstone of that `time` (ISO 8601). Ids and not the list: another run may have read a newer one since.
    """
    entries, recipes = dict(version.sources), dict(version.recipes)
    for source_id in left_out:
        named = entries[source_id].origins
        if given.origin in named:
            others = tuple(origin for origin in named if origin != given.origin)
            gone = "" if others else time or "removed"
            entries[source_id] = replace(entries[source_id], origins=others, removed=gone)
    for source in given.sources:
        document = download_document(config.download, source)
        standing = entries.get(source.id)
        entry = standing
        if outcome := outcomes.get(document.key):
            recipes[document.recipe.digest] = document.recipe.to_json()
            entry = _source_entry(source.location, document.recipe.digest, outcome, standing)
        if entry is not None and given.origin:
            entry = replace(entry, removed="", origins=tuple(sorted({*entry.origins, given.origin})))
        if entry is not None:
            entries[source.id] = entry
    returned = {str(outcome.facts["video"]) for outcome in outcomes.values() if not outcome.failure}
    videos = {
        video: replace(one, dropped=False) if one.dropped and video in returned else one
        for video, one in version.videos.items()
    }
    return replace(version, sources=entries, videos=videos, recipes=recipes)


def _source_entry(location: str, recipe: str, outcome: Outcome, standing: SourceEntry | None) -> SourceEntry:
    """A source after an outcome; a failure keeps what an earlier try gave."""
    before = standing or SourceEntry(location, outcome.key)
    failure = _counted(outcome.failure, standing)
    if failure is not None:
        return replace(before, key=outcome.key, recipe=recipe, failure=failure)
    video, size = str(outcome.facts["video"]), outcome.counts.get("bytes", 0)
    return replace(before, key=outcome.key, recipe=recipe, video=video, failure=None, size=size)


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
    if not plan.shards:
        units.pop("triplets", None)
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
