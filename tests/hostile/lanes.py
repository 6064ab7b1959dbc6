"""Lanes: processes that take one specimen after the other down the real path, each under a watchdog."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.root import open_root
from tasks.batch import Unit, run_batch
from tasks.download.config import DownloadConfig
from tasks.download.key import key_document as download_document
from tasks.download.sources import source_at
from tasks.limits import Limits
from tasks.pool import WorkerPool, exit_with_parent
from tasks.track.config import TrackConfig
from tasks.track.key import key_document as track_document
from tests.hostile.records import Ending

_MARGIN_BYTES = 8_000_000
_END_SECONDS = 10.0
# Small caps, so that whatever has no end meets one within seconds.
_FIELDS: Mapping[str, object] = {
    "retries": 0,
    "timeout_seconds": 1.0,
    "max_bytes": 6_000_000,
    "max_fetch_seconds": 60.0,  # what burns CPU time meets its limit long before, also where others share the cores
    "min_free_bytes": 0,
    "max_listed": 1_000,
}
_MEMORY_BYTES = 1_000_000_000
_CPU_SECONDS = 5.0
_TRACK = TrackConfig(estimator="klt", patch_px=16, working_height_px=64, gap_frames=4, start_every_frames=2)
_TRACK_SECONDS = 30.0  # and as much CPU time


@dataclass(frozen=True)
class Order:
    """What a lane is asked to try: a location with the fields of DownloadConfig that differ, on a root of its own."""

    location: str
    root: str
    fields: Mapping[str, object] = field(default_factory=dict)
    is_tracked: bool = False


class Lane:
    """One process that tries orders; a specimen that holds it for longer than `patience_seconds` is a hang."""

    def __init__(self, scratch: Path, allow_host: str, patience_seconds: float) -> None:
        self._start_arguments = (str(scratch), allow_host)
        self._patience_seconds = patience_seconds
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None and self._process is not None:
            self._pipe.close()  # it reads the end, and leaves
            self._process.join(_END_SECONDS)
            self._kill()

    def run(self, order: Order) -> tuple[Ending, Ending | None]:
        """How it ended, and how tracking its video ended, where that was asked for."""
        started = time.monotonic()
        tracked: Ending | None = None
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send(order)
            if self._pipe.poll(self._patience_seconds):
                ending, tracked = self._pipe.recv()
            else:
                ending = Ending("hang", "no_answer", f"still at it after {self._patience_seconds:g} s")
                self._kill()
        except (EOFError, ConnectionError) as error:
            ending = Ending("crash", "lane_died", repr(error))
            self._kill()
        return replace(ending, seconds=time.monotonic() - started), tracked

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_orders, args=(theirs, *self._start_arguments))
        self._process.start()
        theirs.close()

    def _kill(self) -> None:
        if self._process is not None and self._pipe is not None:
            self._process.kill()  # its own workers end with it
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def _serve_orders(pipe: Connection, scratch: str, allow_host: str) -> None:
    exit_with_parent()
    logging.getLogger().addHandler(logging.NullHandler())  # what is dropped is reported by the hunt
    os.environ["TRITRACK_SCRATCH"] = os.environ["TMPDIR"] = scratch
    os.chdir(scratch)
    with contextlib.ExitStack() as stack:
        tries = _Tries(stack, allow_host)
        while True:
            try:
                order = pipe.recv()
            except EOFError:
                return
            pipe.send(tries.run(order))


class _Tries:
    """The real path of a lane, with a pool of one worker for each set of limits."""

    def __init__(self, stack: contextlib.ExitStack, allow_host: str) -> None:
        self._stack = stack
        self._allow_host = allow_host
        self._pools: dict[Limits, WorkerPool] = {}

    def run(self, order: Order) -> tuple[Ending, Ending | None]:
        """A source through fetching, the pool and the store; then, if asked, its video through tracking."""
        config = DownloadConfig(**{**_FIELDS, "allow_hosts": (self._allow_host,), **order.fields})
        limits = Limits(_MEMORY_BYTES, _CPU_SECONDS, config.max_fetch_seconds, config.max_bytes + _MARGIN_BYTES)
        source = source_at(order.location)
        document = download_document(config, source)
        work = "tasks.download.fetch:download_source"
        unit = Unit(str(document.inputs["location"]), document, work, (source, config), shared_files=True)
        fetched = self._end_of(unit, order, limits)
        if not (order.is_tracked and fetched.video):
            return fetched, None
        track = Unit(
            fetched.video,
            track_document(_TRACK, fetched.video),
            "tasks.track.video:track_video",
            (fetched.video, _TRACK),
        )
        return fetched, self._end_of(track, order, replace(limits, seconds=_TRACK_SECONDS, cpu_seconds=_TRACK_SECONDS))

    def _end_of(self, unit: Unit, order: Order, limits: Limits) -> Ending:
        if limits not in self._pools:
            pool = WorkerPool(1, limits, preload=("tasks.download.fetch", "tasks.track.video"))
            self._pools[limits] = self._stack.enter_context(pool)
        try:
            (outcome,) = run_batch(self._pools[limits], open_root(order.root), [unit])
        except Exception:  # neither Dropped nor Paused: it would end a stage, and is what is looked for here
            return Ending("crash", "exception", traceback.format_exc())
        if outcome.failure:
            return Ending(outcome.failure.kind, outcome.failure.reason, outcome.failure.words)
        if outcome.pending:
            return Ending("pending", words=outcome.pending)
        if outcome.listing is not None:
            return Ending("listed", words=f"{len(outcome.listing.entries)} entries")
        names = ("width", "height", "duration_seconds", "seconds", "fps")
        words = ", ".join(f"{name} {outcome.facts[name]}" for name in names if name in outcome.facts)
        return Ending("kept", words=words, video=str(outcome.facts.get("video", "")))
