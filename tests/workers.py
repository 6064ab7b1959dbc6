"""Functions that the pool's tests run in worker processes, which import them by name."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import stat
import time
from pathlib import Path

from tasks.records import Dropped

_log = logging.getLogger("tasks.workers")


def double(number: int) -> int:
    _log.info("doubled %d", number)
    return 2 * number


def drop(words: str) -> None:
    _log.info("about to drop")
    raise Dropped("permanent", "asked_to", words)


def die(marker: str, times: int) -> str:
    """Kill this process the first `times` times that it is called with one marker file."""
    path = Path(marker)
    deaths = len(path.read_text()) if path.exists() else 0
    if deaths < times:
        path.write_text("x" * (deaths + 1))
        os._exit(9)
    return "survived"


def fail() -> None:
    raise ZeroDivisionError("a programming error")


def sleep_and_tell(folder: str, seconds: float) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(seconds)


def fill_memory(size: int) -> int:
    return len(bytearray(size))


def burn() -> None:
    while True:
        pass


def burn_for(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def sleep_deaf(seconds: float) -> None:
    """Sleep where no alarm is heard, as in native code that hangs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(seconds)


def die_slowly() -> None:
    """Close this process's pipes, by which a parent that spawned it sees its end, and die of its CPU time later."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing is gone
            if int(name) > 2 and stat.S_ISFIFO(os.fstat(int(name)).st_mode):
                os.close(int(name))
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGXCPU)


def write_file(folder: str, size: int) -> None:
    (Path(folder) / "file").write_bytes(bytes(size))


def warn_elsewhere(words: str) -> None:
    """A library's own warning, which is no line of ours."""
    logging.getLogger("a.codec").warning(words)
