"""Where a process runs, and which one is meant: an id says so only with its machine, boot, container and start."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_NAMESPACE = Path("/proc/self/ns/pid")
_SAME_START_SECONDS = 2.0  # the kernel gives the time of boot in whole seconds, which may fall on either side


@functools.cache
def host_name() -> str:
    return socket.gethostname()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def boot_identity() -> str:
    """What process ids of this process's machine are unique within: its boot, and its container's namespace."""
    if _BOOT_ID.exists() and _PROCESS_NAMESPACE.exists():
        return f"{_BOOT_ID.read_text().strip()} {os.readlink(_PROCESS_NAMESPACE)}"
    return f"{psutil.boot_time():.0f}"


def start_time(pid: int) -> float | None:
    """Seconds from the machine's boot to the start of a process, whatever the clock was set to since.

    None where no such process runs; a zombie, which nobody has waited for yet, does not run.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None


def is_running(pid: int, started: float) -> bool:
    """Whether the process that had this id and `start_time` still runs."""
    now = start_time(pid)
    return now is not None and abs(now - started) <= _SAME_START_SECONDS
