"""Worker processes that run units, keep within limits, survive a crash of one, and die with their parent."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, Self

from tasks.limits import NO_LIMITS, Limits, OutOfTime, deadline, lift_memory, limit_call, limit_process
from tasks.logs import json_handler, wants_json
from tasks.records import Dropped, Paused
from tasks.usage import Meter, Usage

_FORWARDED_LOGGERS = ("tasks", "storage")
_LONGEST_WAIT_SECONDS = 3600.0
_LONGEST_FOLDER = 73  # bytes: the fork server adds the name of a socket, of 34, and unix(7) allows 107
_GRACE_SECONDS = 10.0  # for a call to end by its own alarm before its worker is killed
_LEAVING_SECONDS = 1.0  # for a spent worker to leave before it is killed

Take = Callable[[], int | float | None]
"""Which call may begin now: its index; or for how many seconds none may (a float); or None: no more will begin."""


@dataclass(frozen=True)
class Call:
    """A function named "package.module:function" and its arguments.

    By name, so that the parent never imports what only its children need (OpenCV, PyAV, yt-dlp).
    """

    function: str
    arguments: tuple[Any, ...]


class Logged(NamedTuple):
    """A line that a call logged, when (seconds since the epoch), and in which process."""

    logger: str
    level: int
    message: str
    created: float
    process: int


@dataclass(frozen=True)
class Reply:
    """What a call gave: its value, or the Dropped that ended its item; and what it logged.

    `paused`: what ran out, where the item is left for a later run. `error`: what else it raised. `spent`: the
    worker has met a limit, and another takes its place. `usage`: what the call cost, where its worker lived to tell.
    """

    value: Any = None
    dropped: Dropped | None = None
    logs: tuple[Logged, ...] = ()
    paused: str = ""
    error: BaseException | None = None
    spent: bool = False
    usage: Usage | None = None


@dataclass
class _Worker:
    process: BaseProcess
    pipe: connection.Connection
    index: int = -1  # of the call in flight
    killed_at: float = float("inf")  # time.monotonic()


@dataclass
class WorkerPool:
    """So many processes, each with one call in flight, and each replaced by itself when it dies.

    A worker that dies (killed for memory, a crash in native code) costs its own call alone: it is tried again once
    all others have ended, and comes back as poison where it kills its worker again. `preload`: modules that workers
    share from their birth, so that a further one costs milliseconds (Linux; the first pool of a process decides).
    """

    workers: int
    limits: Limits = NO_LIMITS
    preload: Sequence[str] = ()
    _idle: list[_Worker] = field(default_factory=list, init=False)
    _busy: dict[int, _Worker] = field(default_factory=dict, init=False)  # by the sentinel of their process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, calls: Sequence[Call], take: Take | None = None) -> Iterator[tuple[int, Reply]]:
        """Run the calls that `take` gives (all of them in order, where it is None); yields (index, reply) as they end.

        Errors that are neither Dropped nor Paused are raised here.
        """
        take = take or _in_order(len(calls))
        suspects: list[int] = []
        for index, reply in self._run(calls, take):
            if reply is None:
                suspects.append(index)
            else:
                yield index, reply
        for index in suspects:  # alone: the machine's memory may have run out for the sum of them
            for _, reply in self._run(calls, iter((index, None)).__next__):
                yield index, reply or Reply(dropped=Dropped("poison", "worker_died", "its worker process died twice"))

    def attempt(self, call: Call) -> Reply | None:
        """What one call gives, its logs not logged and its error not raised; None where its worker died of no limit."""
        self._begin(0, call)
        while not (ended := self._ended(None)):
            pass
        return self._reply_of(ended[0])

    def close(self) -> None:
        """End the workers; what they are doing is lost."""
        for worker in self._idle:
            worker.pipe.close()  # it reads the end, and leaves
        for worker in self._busy.values():
            worker.process.kill()
            worker.pipe.close()
        for worker in (*self._idle, *self._busy.values()):
            worker.process.join()
        self._idle, self._busy = [], {}

    def _run(self, calls: Sequence[Call], take: Take) -> Iterator[tuple[int, Reply | None]]:
        """As `run`, but with None for a call whose worker died of no limit."""
        more = True
        while more or self._busy:
            pause: float | None = None
            while more and pause is None and len(self._busy) < self.workers:
                given = take()
                if given is None:
                    more = False
                elif isinstance(given, float):
                    pause = given
                else:
                    self._begin(given, calls[given])
            for worker in self._ended(pause):
                index, reply = worker.index, self._reply_of(worker)
                if reply is not None and reply.error is not None:
                    raise reply.error
                yield index, reply and replay(reply)

    def _begin(self, index: int, call: Call) -> None:
        worker = self._idle.pop() if self._idle else self._start()
        worker.index = index
        worker.killed_at = time.monotonic() + self.limits.seconds + _GRACE_SECONDS if self.limits.seconds else 1e18
        self._busy[worker.process.sentinel] = worker
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died while idle: told as it ends
            worker.pipe.send(call)

    def _ended(self, pause: float | None) -> list[_Worker]:
        """The busy workers that have answered, died, or must be killed; waits for one, or for so many seconds."""
        if not self._busy:
            time.sleep(min(pause or 0.0, _LONGEST_WAIT_SECONDS))
            return []
        until = min(worker.killed_at for worker in self._busy.values()) - time.monotonic()
        timeout = min(until, pause if pause is not None else until, _LONGEST_WAIT_SECONDS)
        by_handle: dict[object, _Worker] = {worker.pipe: worker for worker in self._busy.values()}
        by_handle.update(self._busy.items())
        ready = connection.wait([*by_handle], timeout=max(0.0, timeout))  # type: ignore[list-item]
        ended = {id(worker): worker for one in ready if (worker := by_handle[one])}
        late = [worker for worker in self._busy.values() if worker.killed_at <= time.monotonic()]
        return list(({id(worker): worker for worker in late} | ended).values())

    def _reply_of(self, worker: _Worker) -> Reply | None:
        """What a worker answered; what killed it, where that was a limit; None where it died otherwise."""
        del self._busy[worker.process.sentinel]
        try:
            reply = self._answer(worker)
        except (EOFError, ConnectionResetError):  # it is dead: by the CPU limit, or of something else
            worker.process.join()
            worker.pipe.close()
            is_spent = worker.process.exitcode == -signal.SIGXCPU
            return Reply(dropped=self.limits.out_of_cpu()) if is_spent else None
        if reply.spent:
            worker.pipe.close()
            worker.process.join(_LEAVING_SECONDS)
            worker.process.kill()  # one that is held by a thread of what it did
            worker.process.join()
        else:
            self._idle.append(worker)
        return reply

    def _answer(self, worker: _Worker) -> Reply:
        """What it sent, or that it is late: stuck where no alarm reaches it. Raises EOFError where it has died.

        A process that dies closes its files one by one, and has an exit code last: none yet does not mean alive.
        """
        if worker.pipe.poll():
            reply: Reply = worker.pipe.recv()
            return reply
        if worker.killed_at > time.monotonic():
            raise EOFError
        worker.process.kill()
        return Reply(dropped=self.limits.out_of_time(), spent=True)

    def _start(self) -> _Worker:
        forks = sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
        context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            _start_forkserver(self.preload)
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, dict(os.environ), self.limits), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)


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


def _in_order(number: int) -> Take:
    indices = iter(range(number))
    return lambda: next(indices, None)


def _start_forkserver(preload: Sequence[str]) -> None:
    """The process that workers are forked from: one thread, so that a fork of it is safe."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        forkserver.set_forkserver_preload(list(preload))
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _work(pipe: connection.Connection, environment: dict[str, str], limits: Limits) -> None:
    """The life of a worker: call after call, until its parent closes the pipe or is gone."""
    exit_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    os.environ["OMP_NUM_THREADS"] = "1"  # one process a core: threads of its own would fight for it
    for name in _FORWARDED_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    if wants_json():  # what is not forwarded: a library's warnings
        handler = json_handler()
        handler.addFilter(lambda record: record.name.partition(".")[0] not in _FORWARDED_LOGGERS)
        logging.getLogger().addHandler(handler)
    limit_process(limits)
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        meter = Meter()
        reply = _perform(call, limits)
        reply = replace(reply, usage=meter.read())
        try:
            pipe.send(reply)
        except (BrokenPipeError, ConnectionResetError):
            return
        if reply.spent:
            return


def _perform(call: Call, limits: Limits) -> Reply:
    records: list[Logged] = []
    handler = _ListHandler(records)
    for name in _FORWARDED_LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        limit_call(limits)
        with deadline(limits.seconds):
            value = resolve(call.function)(*call.arguments)
        return Reply(value, logs=tuple(records))
    except Dropped as dropped:
        return Reply(dropped=dropped, logs=tuple(records))
    except Paused as paused:
        return Reply(paused=str(paused), logs=tuple(records))
    except OutOfTime:  # wherever the alarm came: in the middle of an import, or with a lock held
        return Reply(dropped=limits.out_of_time(), logs=tuple(records), spent=True)
    except MemoryError as error:
        lift_memory()  # what the call holds is held until its frames are gone
        return Reply(dropped=limits.out_of_memory(error), logs=tuple(records), spent=True)
    except BaseException as error:  # raised again in the parent, with where it came from
        error.add_note("".join(traceback.format_exception(error)))
        return Reply(error=error, logs=tuple(records), spent=True)
    finally:
        for name in _FORWARDED_LOGGERS:
            logging.getLogger(name).removeHandler(handler)


def replay(reply: Reply) -> Reply:
    """Log here what the child logged there, so that it carries this thread's run."""
    for line in reply.logs:
        logger = logging.getLogger(line.logger)
        if logger.isEnabledFor(line.level):
            record = logger.makeRecord(line.logger, line.level, "", 0, "%s", (line.message,), None)
            record.created, record.process = line.created, line.process
            logger.handle(record)
    return reply


class _ListHandler(logging.Handler):
    def __init__(self, records: list[Logged]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        line = Logged(record.name, record.levelno, record.getMessage(), record.created, record.process or os.getpid())
        self._records.append(line)
