"""How the outcomes of a stage become the next data set version: pure functions of the version that stands.

They may be applied again to another writer's version, and a second time to their own (a store that lost the answer
to a write), so each gives the same result the second time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from flows.plan import ShardPlan
from flows.selection import SourceList, listed_by
from storage.keys import JSON, Recipe
from storage.metadata import metadata_row
from storage.versions import Failure, SourceEntry, UnitEntry, Version, VideoEntry
from tasks.batch import Outcome
from tasks.download.key import key_document as download_document
from tasks.download.sources import source_at
from tasks.presets import RunConfig
from tasks.records import Listing


def record_download(
    version: Version,
    given: SourceList,
    config: RunConfig,
    outcomes: Mapping[str, Outcome],
    left_out: Collection[str] = (),
    time: str = "",
) -> Version:
    """`outcomes` by key; sources without one keep their entry, and a new one's says that it was not tried yet.

    `left_out`: ids that the list did not name when the run was planned; who is named by no other list gets a
    tombstone of that `time` (ISO 8601). Ids and not the list: another run may have read a newer one since.
    """
    entries, recipes = dict(version.sources), dict(version.recipes)
    fetched: dict[str, Mapping[str, JSON]] = {}
    when, named = time or "removed", {source.id for source in given.sources}
    members = _members(entries) if left_out or any(outcome.listing for outcome in outcomes.values()) else {}
    for source_id in left_out:
        _retire(entries, members, source_id, given.origin, when)
    for source in given:
        document = download_document(config.download, source)
        standing = entries.get(source.id)
        entry = standing or SourceEntry(source.location, document.key, document.recipe.digest)
        if entry.removed and source.id in named:
            entry = replace(entry, listing="")  # what it named is retired too, until it is read again
        if outcome := outcomes.get(document.key):
            entry = _source_entry(entry, document.recipe.digest, outcome, when)
            if entry.video and not entry.failure:
                fetched[source.id] = metadata_row(
                    outcome.facts,
                    num_bytes=entry.size,
                    fetch_seconds=outcome.seconds,
                    fetched=str(outcome.facts.get("fetched", when)),
                    given=source.given or entry.given,
                )
        if entry.recipe == document.recipe.digest and entry.recipe not in recipes:
            recipes[entry.recipe] = document.recipe.to_json()
        if given.origin and source.id in named:
            entry = replace(entry, removed="", origins=tuple(sorted({*entry.origins, given.origin})))
        if source.given and source.given != entry.given:
            entry = replace(entry, given=source.given)
        entries[source.id] = entry
        if outcome and outcome.listing:
            _record_listing(entries, members, source.id, outcome.listing, config, when)
    returned = {outcome.facts.get("video") for outcome in outcomes.values() if not outcome.failure}
    videos = {
        video: replace(one, dropped=False) if one.dropped and video in returned else one
        for video, one in version.videos.items()
    }
    return replace(version, sources=entries, videos=videos, recipes=recipes, fetched=fetched)


def _source_entry(before: SourceEntry, recipe: str, outcome: Outcome, time: str) -> SourceEntry:
    """A source after an outcome; a failure keeps what an earlier try gave."""
    failure = _counted(outcome.failure, before)
    if failure is not None:
        return replace(before, key=outcome.key, recipe=recipe, failure=failure)
    if outcome.listing is not None:
        return replace(before, key=outcome.key, recipe=recipe, failure=None, listing=time)
    video, size = str(outcome.facts["video"]), outcome.counts.get("bytes", 0)
    return replace(before, key=outcome.key, recipe=recipe, video=video, failure=None, size=size)


def _members(entries: Mapping[str, SourceEntry]) -> dict[str, set[str]]:
    """The ids that each origin names."""
    members: dict[str, set[str]] = {}
    for source_id, entry in entries.items():
        for origin in entry.origins:
            members.setdefault(origin, set()).add(source_id)
    return members


def _record_listing(
    entries: dict[str, SourceEntry],
    members: dict[str, set[str]],
    source_id: str,
    listing: Listing,
    config: RunConfig,
    time: str,
) -> None:
    """Name what a list names now, and retire what it stopped to name; one that was cut short retires nothing."""
    origin, named = listed_by(source_id), set[str]()
    for location, given in listing.entries:
        source = source_at(location, given)
        named.add(source.id)
        document = download_document(config.download, source)
        entry = entries.get(source.id) or SourceEntry(source.location, document.key, document.recipe.digest)
        entries[source.id] = replace(
            entry, given=source.given or entry.given, removed="", origins=tuple(sorted({*entry.origins, origin}))
        )
    standing = members.setdefault(origin, set())
    if listing.complete and not config.download.keep_removed:
        for other in sorted(standing - named):
            _retire(entries, members, other, origin, time)
    standing |= named


def _retire(
    entries: dict[str, SourceEntry], members: dict[str, set[str]], source_id: str, origin: str, time: str
) -> None:
    """Take an origin from a source; one that has none left gets a tombstone, and what it lists loses it in turn."""
    entry = entries[source_id]
    if origin not in entry.origins:
        return
    members[origin].discard(source_id)
    others = tuple(one for one in entry.origins if one != origin)
    entries[source_id] = replace(entry, origins=others, removed="" if others else time)
    if entry.listing and not others:
        mine = listed_by(source_id)
        for other in sorted(members.get(mine, ())):
            _retire(entries, members, other, mine, time)


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
            pairs, size = outcome.counts["pairs"], outcome.counts.get("bytes", 0)
            shard = replace(shard, pairs=pairs, size=size, key=unit.key, accepted=unit.accepted)
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
    """Name units that no source has: "train", "evaluate/<benchmark>", "audit", "proposals/<part>"."""
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
