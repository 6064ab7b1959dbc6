"""Run a module, such as a Prefect server, with garbage collected beside its event loop and never in it.

    python -m flows.garbage prefect server start

An SQLite connection is locked while a statement of it waits for its turn to write, and the collector needs that lock
to free a cursor of the connection that an error left in a cycle. Where the collector runs in the event loop's thread,
the loop then stands still; the one who could end the wait, who holds the right to write, is a task of that loop. All
of the server hangs for Prefect's `busy_timeout`, 60 seconds, which is the end of the wait. In a thread of its own it is
the collector alone that waits, for milliseconds.
"""

from __future__ import annotations

import gc
import itertools
import runpy
import sys
import threading
import time

_EVERY_SECONDS = 1.0
_FULL_EVERY = 60  # collections; the others leave alone what has outlived two


def collect_apart() -> None:
    """From now on a thread collects this process's garbage, and no other does."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    for turn in itertools.count(1):
        time.sleep(_EVERY_SECONDS)
        gc.collect(1 if turn % _FULL_EVERY else 2)


if __name__ == "__main__":
    del sys.argv[0]
    collect_apart()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
