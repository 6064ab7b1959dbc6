"""One attempt: a process under orders, killed at its moment or left to end, and nobody left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tests.chaos.faults import VARIABLE, Event, Orders, count_operations, read_events

Ending = Literal["done", "killed", "failed", "hung"]

PROJECT = Path(__file__).resolve().parents[2]
_SITE = Path(__file__).resolve().with_name("site")
_HANGS_SECONDS = 600.0
_LEAVE_SECONDS = 30.0  # a process looks for its parent once a second, on a machine that may be busy
_LAST_CHARACTERS = 4000


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    `operations`: begun on its root, by the first folder of their paths; `survivors`: command lines of processes that
    outlived it for 30 s (they are ended then); `lingered_seconds`: how long the last process outlived the parent;
    `words`: the end of what it wrote.
    """

    ending: Ending
    code: int
    seconds: float
    operations: Mapping[str, int]
    events: tuple[Event, ...]
    survivors: tuple[str, ...]
    lingered_seconds: float
    words: str

    @property
    def last_line(self) -> str:
        lines = [line for line in self.words.splitlines() if line.strip() and not line.startswith(" ")]
        return lines[-1][:200] if lines else f"exit code {self.code}, no words"


def run_attempt(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    orders: Orders,
    kill_after_seconds: float = 0.0,
    from_first_child: bool = False,
) -> Attempt:
    """Run `python ARGUMENTS` under orders, in a session of its own; only the parent is killed, never its children.

    `kill_after_seconds`: when, unless the orders name an operation; 0 for never; counted from the start of the
    parent, or of its first child. Makes the orders' folder.
    """
    folder = Path(orders.folder)
    folder.mkdir(parents=True)
    variables = clean_environment() | dict(environment) | orders.environment()
    started = time.monotonic()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if from_first_child:
            _await_child(process)
        is_hung = _wait(process, kill_after_seconds)
    ended = time.monotonic()
    survivors = await_children(str(folder))
    words = (folder / "output").read_text(errors="replace")[-_LAST_CHARACTERS:]
    return Attempt(
        ending="hung" if is_hung else _ending(process.returncode),
        code=process.returncode,
        seconds=ended - started,
        operations=count_operations(folder),
        events=tuple(read_events(folder)),
        survivors=survivors,
        lingered_seconds=time.monotonic() - ended,
        words=words,
    )


def _wait(process: subprocess.Popen[bytes], kill_after_seconds: float) -> bool:
    """Wait for the end, or bring it; whether the process had to be ended because it hung."""
    try:
        process.wait(kill_after_seconds or _HANGS_SECONDS)
        return False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return not kill_after_seconds


def _await_child(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has a child, or has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.poll() is None and not psutil.Process(process.pid).children():
            time.sleep(0.05)


def _ending(code: int) -> Ending:
    return "done" if code == 0 else "killed" if code == -signal.SIGKILL else "failed"


def await_children(marker: str) -> tuple[str, ...]:
    """Wait until no process of the attempt is left; ends and names those that stay."""
    end = time.monotonic() + _LEAVE_SECONDS
    while (left := _marked(marker)) and time.monotonic() < end:
        time.sleep(0.05)
    survivors = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivors.append(f"{process.pid}: {' '.join(process.cmdline())[:200]}")
            process.kill()
    return tuple(survivors)


def _marked(marker: str) -> list[psutil.Process]:
    """The processes whose environment holds the attempt's orders."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.status() != psutil.STATUS_ZOMBIE and f'"{marker}"' in process.environ().get(VARIABLE, ""):
                found.append(process)
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without anybody's settings; one thread a process, since two cores run several."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_", "TRITRACK_"))}
    path = os.pathsep.join((str(_SITE), str(PROJECT)))
    return kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
