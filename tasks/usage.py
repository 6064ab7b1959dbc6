"""What a unit cost the process that ran it: when, how long, how much memory, and what it asked of the store."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import time
from dataclasses import dataclass, field, replace

from storage.traffic import Traffic, traffic

_HIGH_WATER = re.compile(rb"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True, slots=True)
class Usage:
    """`started`: seconds since the epoch; `seconds` of the wall clock, with looking the unit up and committing it.

    `peak_bytes`: resident memory of the process at its highest while the unit ran, the libraries that it had loaded
    before included (Linux, VmHWM of proc(5), reset for each unit); since the process began where the system resets
    no mark. Where the unit's work was done by processes that this one started and waited for (the ranks of a
    training run) and one of them took more, it is that one's. `bytes_in`: read from the store by this process, and
    `requests` to it; those of a training run's ranks are not seen.
    """

    started: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    bytes_in: int = 0
    requests: int = 0

    def shared(self, number: int) -> Usage:
        """The even share of one of so many units that ran side by side; all of them held the memory."""
        return replace(
            self,
            seconds=self.seconds / number,
            bytes_in=self.bytes_in // number,
            requests=-(-self.requests // number),
        )


@dataclass
class Meter:
    """Measures from its making on."""

    _traffic: Traffic = field(default_factory=traffic)
    _started: float = field(default_factory=time.time)
    _clock: float = field(default_factory=time.perf_counter)
    _children_bytes: int = field(default_factory=lambda: _largest(resource.RUSAGE_CHILDREN))

    def __post_init__(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as marks:
                marks.write(b"5")  # proc(5): the high-water mark falls to what is resident now

    def read(self) -> Usage:
        """What was used so far."""
        asked = traffic().since(self._traffic)
        children = _largest(resource.RUSAGE_CHILDREN)  # of those that were waited for; a mark that never falls
        peak = max(_own_peak(), children if children > self._children_bytes else 0)
        return Usage(self._started, time.perf_counter() - self._clock, peak, asked.bytes_in, asked.requests)


def _own_peak() -> int:
    try:
        with open("/proc/self/status", "rb") as status:
            found = _HIGH_WATER.search(status.read())
    except FileNotFoundError:  # no Linux
        found = None
    return int(found[1]) * 1024 if found else _largest(resource.RUSAGE_SELF)


def _largest(who: int) -> int:
    """Bytes of the largest resident set (getrusage(2): kilobytes, on macOS bytes)."""
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
