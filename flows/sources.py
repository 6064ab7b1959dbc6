"""The source list that a run was given."""

from __future__ import annotations

import os

from flows.plan import SourceList
from tasks.download.redaction import redact
from tasks.download.sources import read_sources


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
