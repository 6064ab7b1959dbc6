"""Which sources a run is about: those that it was given, what the lists among them name, or a part of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from storage.versions import SourceEntry, Version
from tasks.download.sources import Source, kind_of, source_at

_LISTED = "listed by "  # and the id of a source, as an origin
_RANGE = re.compile(r"(\d*):(\d*)")
_BATCH = re.compile(r"batch (\d+)")
_DIGITS = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class SourceList:
    """The sources that a run was given. `origin`: what named them (a list, a folder, a URL); empty: the data set.

    `listed`: what those among them that are lists themselves (playlists, channels, feeds) are known to name. `whole`:
    whether these are all that the origin names; a part of them retires nothing.
    """

    sources: Sequence[Source]
    origin: str = ""
    listed: Sequence[Source] = ()
    whole: bool = True

    def __iter__(self) -> Iterator[Source]:
        """Each source once."""
        yield from self.sources
        if self.listed:
            given = {source.id for source in self.sources}
            yield from (source for source in self.listed if source.id not in given)


def known_sources(version: Version) -> SourceList:
    """The sources that the data set was built from, without those that were removed."""
    return SourceList([_source(one, entry) for one, entry in version.sources.items() if not entry.removed])


def with_listed(version: Version, given: SourceList) -> SourceList:
    """The given sources, with what the lists among them named when they were last expanded, lists of lists included."""
    if not given.origin and given.whole:  # the data set's own: all of them are there
        return given
    lists = {listed_by(source_id) for source_id, entry in version.sources.items() if entry.listing}
    if not lists:
        return given
    reached = {listed_by(source.id) for source in given} & lists
    found: dict[str, Source] = {}
    while reached:
        named = {
            source_id: entry
            for source_id, entry in version.sources.items()
            if not entry.removed and source_id not in found and not reached.isdisjoint(entry.origins)
        }
        found |= {source_id: _source(source_id, entry) for source_id, entry in named.items()}
        reached = {listed_by(source_id) for source_id, entry in named.items() if entry.listing}
    others = [source for source in given.listed if source.id not in found]
    return replace(given, listed=[*others, *found.values()])


def select(given: SourceList, only: str, batch_units: int) -> SourceList:
    """The part of the sources that `only` names, in order of their ids; all of them where it is empty.

    A URL or path; the first digits (8 at least) of an id; `100:200`, places from 0 on, the last one left out; or
    `batch 3`, from 1 on, of `batch_units` each. Raises ValueError where it names nothing.
    """
    text = only.strip()
    if not text:
        return given
    everything = sorted(given, key=lambda source: source.id)
    if match := _BATCH.fullmatch(text):
        start = (int(match[1]) - 1) * batch_units
        chosen = everything[start : start + batch_units] if start >= 0 else []
    elif match := _RANGE.fullmatch(text):
        chosen = everything[int(match[1] or 0) : int(match[2] or len(everything))]
    else:
        wanted = source_at(text).id
        chosen = [one for one in everything if one.id == wanted]
        if not chosen and _DIGITS.fullmatch(text):
            chosen = [one for one in everything if one.id.startswith(text)]
    if not chosen:
        raise ValueError(
            f"only: {text!r} names none of the {len(everything)} sources; give a URL or path of one, the first digits "
            "of its id, a range such as 0:100, or a batch such as 'batch 1'"
        )
    named = {source.id for source in given.sources}
    return SourceList(
        [one for one in chosen if one.id in named],
        given.origin,
        [one for one in chosen if one.id not in named],
        whole=False,
    )


def failed_sources(version: Version, given: SourceList) -> SourceList:
    """Those of the given sources that failed when they were last tried; a part, which retires nothing."""

    def has_failed(source: Source) -> bool:
        entry = version.sources.get(source.id)
        return entry is not None and entry.failure is not None

    sources, listed = filter(has_failed, given.sources), filter(has_failed, given.listed)
    return replace(given, sources=list(sources), listed=list(listed), whole=False)


def videos_of(version: Version, only: str, batch_units: int) -> set[str] | None:
    """The videos that a part of the data set's sources gave (see `select`); None where `only` is empty."""
    if not only.strip():
        return None
    chosen = select(known_sources(version), only, batch_units)
    return {entry.video for source in chosen if (entry := version.sources[source.id]).video}


def listed_by(source_id: str) -> str:
    """The origin of what a list source names."""
    return f"{_LISTED}{source_id}"


def _source(source_id: str, entry: SourceEntry) -> Source:
    """The source behind an entry, under the id that the version knows it by."""
    return Source(source_id, entry.location, kind_of(entry.location), entry.given)
