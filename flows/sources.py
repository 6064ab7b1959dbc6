"""Where a run stands: its root, the version that it begins on, and the sources that it was given."""

from __future__ import annotations

import os

from flows.description import Description
from flows.plan import SourceList, known_sources
from storage.root import Root, open_root
from storage.versions import Version, latest_version
from tasks.download.redaction import redact
from tasks.download.sources import read_sources


def open_description(description: Description, *, create: bool = True) -> tuple[Root, Version, SourceList]:
    """A run's root (`create`: made where it is missing), its data set's newest version, and its sources.

    Raises ValueError or RootError, in one line.
    """
    root = open_root(description.root, create=create)
    version = latest_version(root, description.dataset)
    return root, version, given_sources(description.sources, version)


def given_sources(argument: str, version: Version) -> SourceList:
    """The sources that an argument names; without one, those that the data set knows."""
    return read_list(argument) if argument else known_sources(version)


def read_list(argument: str) -> SourceList:
    """The sources that an argument names, and what stands for it in the data set: whatever it named before and
    leaves out now is retired.

    Raises ValueError where it does not exist, or names nothing at all: an empty folder is more often a disk that
    is not mounted than a wish to empty a data set.
    """
    found = read_sources(argument)
    if not found:
        raise ValueError(f"sources: {argument!r} names no source; check it, or purge the videos that must go")
    text = argument.strip()
    return SourceList(found, os.path.abspath(text) if os.path.exists(text) else redact(text))
