"""A hunt: the whole corpus down the real path, and what was found of crashes, hangs and leaks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.hostile.corpus import CANARY, Found, lay_out, make_corpus, write_secret
from tests.hostile.lanes import Lane, Order
from tests.hostile.names import odd_files
from tests.hostile.records import Ending, Place, Specimen
from tests.hostile.server import Answer, serve

_SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but for tabs and ends of lines
_LIMITS = frozenset({"time_limit", "cpu_limit"})


@dataclass(frozen=True)
class Result:
    """How one specimen ended, and how its video was tracked, where that was asked for."""

    specimen: Specimen
    location: str
    ending: Ending
    tracked: Ending | None = None

    @property
    def verdict(self) -> str:
        """ "crash", "hang", "surprise" (an ending that is not right for it), or nothing."""
        allowed = self.specimen.allowed
        for ending, right in ((self.ending, allowed), (self.tracked, frozenset({"kept", "poison"}))):
            if ending is None:
                continue
            if ending.kind == "crash" or ending.reason == "worker_died":
                return "crash"
            if ending.kind == "hang" or (ending.reason in _LIMITS and f"{ending.kind} {ending.reason}" not in allowed):
                return "hang"
            if not ending.is_allowed(right):
                return "surprise"
        return ""


@dataclass(frozen=True)
class Report:
    """What a hunt found. `asked`: requests that reached a server which must not be asked; `leaks`: files that hold the
    secret's bytes, or outcomes that quote them; `strange`: names on disk that came from outside; `unclean`: outcomes
    whose words hold control characters, which would reach logs and terminals.
    """

    results: Sequence[Result]
    asked: Sequence[str]
    leaks: Sequence[str]
    strange: Sequence[str]
    unclean: Sequence[str]

    @property
    def faults(self) -> list[str]:
        """A line for each thing that is not as it should be; empty after a clean hunt."""
        wrong = [each for each in self.results if each.verdict]
        return [
            *(_told(each) for each in wrong),
            *(f"asked what must not be asked: {target}" for target in self.asked),
            *(f"leaked: {where}" for where in self.leaks),
            *(f"name from outside: {name}" for name in self.strange),
            *(f"control characters in the words of {name}" for name in self.unclean),
        ]


def _told(result: Result) -> str:
    ending = result.ending
    last_words = ending.words.strip().splitlines()[-1:]
    return " ".join([f"{result.verdict}: {result.specimen.name}: {ending.kind} {ending.reason}", *last_words])


def hunt(
    folder: Path,
    num_lanes: int,
    patience_seconds: float = 90.0,
    is_tracked: bool = False,
    only: str = "",
    tell: Callable[[Result], None] = lambda result: None,
) -> Report:
    """Run every specimen whose name contains `only`; `folder` takes files, roots and scratch, and must be empty."""
    answers: dict[str, Answer] = {}
    traps: dict[str, Answer] = {}
    with serve(answers) as site, serve(traps, "127.0.0.2") as trap, serve(traps) as neighbour:
        place = Place(str(folder / "corpus"), site.url, trap.url, neighbour.url)
        traps[""] = write_secret(place)
        specimens = [each for each in (*make_corpus(place), *odd_files(place)) if only in each.name]
        found = list(lay_out(specimens, place, answers))
        results = _Hunters(folder, site.url.removeprefix("http://"), patience_seconds, is_tracked, tell).run(
            found, num_lanes
        )
    words_of = {each.specimen.name: each.ending.words for each in results if each.ending.kind != "crash"}
    quoted = [name for name, words in words_of.items() if CANARY.decode() in words]
    asked = [*trap.asked, *filter(None, neighbour.asked)]  # others on this machine may try whether its port is free
    unclean = [name for name, words in words_of.items() if _CONTROL.search(words)]
    return Report(results, asked, [*_leaks(folder), *quoted], _strange(folder), unclean)


@dataclass(frozen=True)
class _Hunters:
    folder: Path
    allow_host: str
    patience_seconds: float
    is_tracked: bool
    tell: Callable[[Result], None]

    def run(self, found: Sequence[Found], num_lanes: int) -> list[Result]:
        """The specimens that wait for the clock have lanes of their own, beside those that need the processor."""
        waiting = [each for each in found if each.specimen.fields.get("max_fetch_seconds")]
        working = [each for each in found if each not in waiting]
        queues = [self._queue(working)] * num_lanes + [self._queue(waiting)] * (num_lanes if waiting else 0)
        with ThreadPoolExecutor(len(queues)) as pool:
            done = list(pool.map(self._hunt, range(len(queues)), queues))
        return sorted((result for some in done for result in some), key=lambda result: result.specimen.name)

    def _queue(self, found: Sequence[Found]) -> SimpleQueue[Found]:
        queue: SimpleQueue[Found] = SimpleQueue()
        for each in found:
            queue.put(each)
        return queue

    def _hunt(self, number: int, queue: SimpleQueue[Found]) -> list[Result]:
        scratch = self.folder / "scratch" / f"{number}"
        scratch.mkdir(parents=True)
        results: list[Result] = []
        with Lane(scratch, self.allow_host, self.patience_seconds) as lane:
            while not queue.empty():
                try:
                    found = queue.get_nowait()
                except Empty:
                    break
                root = self.folder / "roots" / f"{number}-{len(results)}"
                fields = found.specimen.fields
                ending, tracked = lane.run(Order(found.location, str(root), fields, self.is_tracked))
                results.append(Result(found.specimen, found.location, ending, tracked))
                self.tell(results[-1])
        return results


def _files(folder: Path) -> Iterator[Path]:
    for place in ("roots", "scratch"):
        for parent, _, names in os.walk(folder / place):
            yield from (Path(parent) / name for name in names)


def _leaks(folder: Path) -> list[str]:
    return [str(path) for path in _files(folder) if CANARY in path.read_bytes()]


def _strange(folder: Path) -> list[str]:
    """Names below the roots and the scratch folders that no digest gave."""
    parts = {part for path in _files(folder) for part in path.relative_to(folder).parts}
    return sorted(part for part in parts if not _SAFE_NAME.fullmatch(part))
