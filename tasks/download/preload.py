"""What every fetching worker needs, made once in the process that they are forked from: half a second of CPU time each.

Importing this module does the work. A worker that was spawned instead does it itself, by its first fetch.
"""

from __future__ import annotations

import gc
import time

import tasks.batch
import tasks.download.fetch
from tasks.download.guard import extractors, ssl_context

__all__ = ["tasks"]

_NO_SITE = "https://example.invalid/"

for _extractor in extractors():  # each compiles the pattern of the URLs that it knows
    _extractor.suitable(_NO_SITE)
ssl_context(legacy_support=False)
time.strptime("2026", "%Y")  # imports what it stands on
gc.collect()
gc.freeze()  # so that a collection in a worker does not copy the pages that it shares
