"""How many requests to a store run at once, and threads to run them in."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CONCURRENCY = 8
"""Requests at once where `TRITRACK_CONCURRENCY` says nothing."""


@functools.cache
def concurrency() -> int:
    """Requests to the store that run at once: `TRITRACK_CONCURRENCY`, read once; raises ValueError below 1."""
    text = os.environ.get("TRITRACK_CONCURRENCY", "") or str(CONCURRENCY)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"TRITRACK_CONCURRENCY is {text!r}; give a whole number from 1 on, or leave it unset for 8")
    return int(text)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in the order of the items, `concurrency()` at once.

    Items are taken as results are asked for, so that neither list need fit in memory. An error of one item
    is raised in its place, and what has not begun by then does not begin.
    """
    workers = concurrency()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="store") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
