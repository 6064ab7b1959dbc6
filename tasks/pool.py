"""Worker processes that run units, survive a crash of one, and die with their parent."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tasks.records import Dropped, Paused

_FORWARDED_LOGGERS = ("tasks", "storage")


@dataclass(frozen=True)
class Call:
    """A function named "package.module:function" and its arguments.

    By name, so that the parent never imports what only its children need (OpenCV, PyAV, yt-dlp).
    """

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Reply:
    """What a call gave: its value, or the Dropped that ended its item; and what it logged.

    `paused`: what ran out, where the item is left for a later run.
    """

    value: Any
    dropped: Dropped | None
    logs: tuple[tuple[str, int, str], ...] = ()
    paused: str = ""


class WorkerPool:
    """A fixed number of spawned processes, one unit in flight in each.

    A worker that dies (killed for memory, a crash in native code) costs one item: the calls that were in
    flight are tried again one by one, and the one that kills its worker again comes back as poison.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(kill=kind is not None)

    def run(self, calls: Sequence[Call], stop: Callable[[], bool] = lambda: False) -> Iterator[tuple[int, Reply]]:
        """Run the calls; yields (index, reply) as they end. Errors that are not Dropped or Paused propagate.

        Once `stop` is true no call is begun; those in flight end.
        """
        waiting = list(range(len(calls)))[::-1]
        flying: dict[Future[Reply], int] = {}
        suspects: list[int] = []
        while waiting or flying:
            while waiting and len(flying) < self._workers and not stop():
                index = waiting.pop()
                try:
                    flying[self._submit(calls[index])] = index
                except BrokenProcessPool:  # it broke between two calls; its futures say so below
                    waiting.append(index)
                    break
            if not flying:
                if stop():
                    return
                self.close(kill=True)
                continue
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                index = flying.pop(future)
                try:
                    yield index, _replay(future.result())
                except BrokenProcessPool:
                    suspects.append(index)
            if suspects:
                suspects += flying.values()
                flying.clear()
                self.close(kill=True)
                yield from self._run_alone(calls, suspects)
                suspects = []

    def close(self, kill: bool = False) -> None:
        """End the workers; `kill` does not wait for what they are doing."""
        if self._executor is None:
            return
        if kill:
            for process in list((self._executor._processes or {}).values()):
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None

    def _submit(self, call: Call) -> Future[Reply]:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        return self._executor.submit(_perform, call)

    def _run_alone(self, calls: Sequence[Call], suspects: Sequence[int]) -> Iterator[tuple[int, Reply]]:
        for index in suspects:
            try:
                yield index, _replay(self._submit(calls[index]).result())
            except BrokenProcessPool as error:
                self.close(kill=True)
                yield index, Reply(None, Dropped("poison", "worker_died", f"its worker process died twice: {error}"))


def exit_with_parent() -> None:
    """End this process when the process that spawned it is gone, however it went (a daemon thread waits)."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in a process that multiprocessing started"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


def resolve(name: str) -> Callable[..., Any]:
    """The function behind "package.module:function"."""
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _start_worker() -> None:
    exit_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # one process a core: threads of its own would fight for it
    for name in _FORWARDED_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def _perform(call: Call) -> Reply:
    records: list[tuple[str, int, str]] = []
    handler = _ListHandler(records)
    for name in _FORWARDED_LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        value = resolve(call.function)(*call.arguments)
        return Reply(value, None, tuple(records))
    except Dropped as dropped:
        return Reply(None, dropped, tuple(records))
    except Paused as paused:
        return Reply(None, None, tuple(records), str(paused))
    finally:
        for name in _FORWARDED_LOGGERS:
            logging.getLogger(name).removeHandler(handler)


def _replay(reply: Reply) -> Reply:
    """Log here what the child logged there, so that it carries this thread's run."""
    for name, level, message in reply.logs:
        logging.getLogger(name).log(level, "%s", message)
    return reply


class _ListHandler(logging.Handler):
    def __init__(self, records: list[tuple[str, int, str]]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.name, record.levelno, record.getMessage()))
