"""Children die with their parent: a rank ends when its parent is gone, also after kill -9.

The parent holds the other end of the ranks' standard input and never writes to it, so that end of file
means that the parent is no more. The agent between them (which runs torchrun) is watched by the parent's process id.
"""

from __future__ import annotations

import os
import select
import threading

_LOOK_EVERY_SECONDS = 1.0
_EXIT_ORPHANED = 70


def watch_parent() -> None:
    """End this process, at once and whatever it does, when the parent or the agent is gone."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="watchdog", daemon=True).start()


def _watch(agent: int) -> None:
    while True:
        readable, _, _ = select.select([0], [], [], _LOOK_EVERY_SECONDS)
        if os.getppid() != agent or (readable and os.read(0, 1) == b""):
            os._exit(_EXIT_ORPHANED)
