"""Where a run stands: its root, the version that it begins on, and the sources that it was given."""

from __future__ import annotations

from collections.abc import Sequence

from flows.description import Description
from flows.selection import SourceList, known_sources, with_listed
from storage.root import Root, open_root
from storage.versions import Version, latest_version
from tasks.download.redaction import redact
from tasks.download.sources import read_sources, source_at


def open_description(description: Description, *, create: bool = True) -> tuple[Root, Version, SourceList]:
    """A run's root (`create`: made where it is missing), its data set's newest version, and its sources.

    Raises ValueError or RootError, in one line.
    """
    root = open_root(description.root, create=create)
    version = latest_version(root, description.dataset)
    return root, version, given_sources(description.sources, version, description.config.download.allow_stores)


def given_sources(argument: str, version: Version, allow_stores: Sequence[str] = ()) -> SourceList:
    """The sources that an argument names, with what the lists among them (playlists, feeds, ...) are known to name;
    without an argument, those that the data set knows."""
    return with_listed(version, read_list(argument, allow_stores)) if argument else known_sources(version)


def read_list(argument: str, allow_stores: Sequence[str] = ()) -> SourceList:
    """The sources that an argument names, and what stands for it in the data set: whatever it named before and
    leaves out now is retired. `allow_stores`: the object stores that may be opened for it.

    Raises ValueError or RootError, in one line, where it cannot be read, or names nothing at all: an empty folder is
    more often a disk that is not mounted than a wish to empty a data set.
    """
    found = read_sources(argument, allow_stores)
    if not found:
        shown = repr(redact(argument))
        raise ValueError(f"sources: {shown} names no source; check it, or purge the videos that must go")
    itself = source_at(argument.strip())
    return SourceList(found, itself.location if itself.kind == "file" else redact(itself.location))
