"""How far a run is: bars in the terminal, progress artifacts in the Prefect UI, lines where there is neither."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.settings import LOGGERS
from tasks.logs import wants_json
from tasks.records import Progress as ProgressCallable

_log = logging.getLogger(__name__)
_LINE_EVERY_SECONDS = 15.0


class Display(Protocol):
    """Opens one bar a stage."""

    def stage(self, name: str) -> ProgressCallable: ...


class LogDisplay:
    """For a worker or a log file: a line every 15 seconds."""

    def stage(self, name: str) -> ProgressCallable:
        last = time.monotonic()

        def report(done: int, total: int, note: str = "") -> None:
            nonlocal last
            if time.monotonic() - last > _LINE_EVERY_SECONDS:
                last = time.monotonic()
                _log.info("%s: %d of %d %s", name, done, total, note)

        return report


class TerminalDisplay:
    """For a person: a bar a stage, below what is logged."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def stage(self, name: str) -> ProgressCallable:
        bar = self._bars.add_task(f"{name:9}", total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            self._bars.update(bar, completed=done, total=total, note=_shorten(note))

        return report


_current: Display = LogDisplay()


def current_display() -> Display:
    """The display of this process; a terminal's while `terminal_display` is open."""
    return _current


@contextlib.contextmanager
def terminal_display(verbose: bool) -> Iterator[Display]:
    """Show bars and warnings (with `verbose`, every line) in this terminal instead of Prefect's own console log.

    Where logs are asked for as JSON, Prefect's console log stays, which writes them then, and there are no bars.
    """
    global _current
    if wants_json():  # a bar is no JSON
        yield _current
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not console.is_terminal)
    handler = RichHandler(console=console, show_path=False, level=logging.INFO if verbose else logging.WARNING)
    _silence_prefect_console()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    before, _current = _current, TerminalDisplay(bars) if console.is_terminal else PlainDisplay()
    try:
        with bars:
            yield _current
    finally:
        _current = before
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)


class PlainDisplay:
    """For a terminal without cursor control or a pipe: a line a stage's start, every 15 seconds, and end."""

    def stage(self, name: str) -> ProgressCallable:
        started = last = time.monotonic()

        def report(done: int, total: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if done == total or now - last > _LINE_EVERY_SECONDS:
                last = now
                sys.stderr.write(f"{name:9} {done}/{total} after {now - started:.0f} s {_shorten(note)}\n")

        return report


def _silence_prefect_console() -> None:
    """Our bars, and one line an error, stand for Prefect's console log; its records still go to the server."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("prefect", *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL + 1)


def _shorten(note: str, width: int = 40) -> str:
    return note if len(note) <= width else f"…{note[1 - width :]}"
