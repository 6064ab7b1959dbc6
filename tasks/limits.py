"""Limits of a worker process that decodes what came from outside: memory, CPU time, time, and the size of files.

Memory and CPU limits are the kernel's; they hold on Linux. Elsewhere only the time limit does.
"""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from tasks.records import Dropped


@dataclass(frozen=True)
class Limits:
    """What a worker may use; 0: no limit.

    `memory_bytes`: private memory beyond what the worker holds as it starts. `cpu_seconds` and `seconds` (of the wall
    clock): for one call. `file_bytes`: the largest file that it may write.
    """

    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    file_bytes: int = 0

    def out_of_time(self) -> Dropped:
        return Dropped("transient", "time_limit", f"not done after {self.seconds:g} s")

    def out_of_cpu(self) -> Dropped:
        return Dropped("poison", "cpu_limit", f"its worker used more than {self.cpu_seconds:g} s of CPU time")

    def out_of_memory(self, error: MemoryError) -> Dropped:
        words = f"its worker needed more than {self.memory_bytes:,} bytes of memory" if self.memory_bytes else ""
        return Dropped("poison", "memory_limit", "; ".join(filter(None, (words, str(error)))) or "out of memory")


NO_LIMITS = Limits()


class OutOfTime(BaseException):
    """The alarm of a call's deadline. No Exception, so that no tool's own handler keeps it from ending the call."""


def limit_process(limits: Limits) -> None:
    """Set what holds for the whole life of this process; called once, as it starts."""
    _set_soft(resource.RLIMIT_CORE, 0)
    if limits.file_bytes:
        _set_soft(resource.RLIMIT_FSIZE, limits.file_bytes)  # a longer write raises OSError (EFBIG)
    if limits.memory_bytes and sys.platform == "linux":
        _set_soft(resource.RLIMIT_DATA, _private_bytes() + limits.memory_bytes)


def limit_call(limits: Limits) -> None:
    """Give the next call its share of CPU time; the kernel kills the process (SIGXCPU) that uses more."""
    if limits.cpu_seconds:
        _set_soft(resource.RLIMIT_CPU, math.ceil(time.process_time() + limits.cpu_seconds))


def lift_memory() -> None:
    """Give a process that has run out of memory enough to say so; it must end after that."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in this (main) thread once the block has lasted so long; 0: never."""
    if not seconds:
        yield
        return

    def ring(signal_number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _set_soft(kind: int, value: int) -> None:
    """Lower a soft limit; the hard one stays, so that the next call can be given more."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _private_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it (proc(5), VmData)."""
    with open("/proc/self/status", encoding="ascii") as status:
        kilobytes = next(line.split()[1] for line in status if line.startswith("VmData:"))
    return int(kilobytes) * 1024
