"""Running a program to its end while the memory of its process tree is sampled."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.5  # a sample of 18 processes costs about 10 ms of CPU


@dataclass(frozen=True)
class Watched:
    """How a program ended. `seconds`: from its start to its end; `peak_mb`: MB (2**20 bytes) of its whole tree.

    Memory is the sum of the processes' proportional shares (PSS): a page that forked workers share counts once.
    """

    output: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_watched(command: Sequence[str], folder: Path | None = None) -> Watched:
    """Run a program in a folder (this process's where it is None).

    Raises RuntimeError with the end of its errors where it fails.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=folder) as process:
            peaks: list[float] = []
            ended = threading.Event()
            sampler = threading.Thread(target=_sample, args=(process.pid, ended, peaks), name="memory-sampler")
            sampler.start()
            try:
                status = process.wait()
            finally:
                seconds = time.perf_counter() - begun
                process.kill()  # where this was interrupted; one that has ended minds nothing
                ended.set()
                sampler.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        output.seek(0)
        errors.seek(0)
        if status:
            raise RuntimeError(f"{command[:4]} ended with {status}: {errors.read()[-2000:]}")
        cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Watched(output.read(), seconds, cpu_seconds, max(peaks, default=0.0))


def tree_memory_mb(pid: int) -> float:
    """MB that a process and all below it hold now, pages shared between them counted once."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended just now
            continue
    return total / 2**20


def _sample(pid: int, ended: threading.Event, peaks: list[float]) -> None:
    while not ended.is_set():
        peaks.append(tree_memory_mb(pid))
        ended.wait(_SAMPLE_SECONDS)
