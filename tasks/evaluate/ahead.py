"""One worker thread that prepares what comes next while this is used: decoding beside the passes of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items in their order, the next one made in a thread meanwhile; an error of it is raised in its place."""
    source, nothing = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = pool.submit(next, source, nothing)
        while (item := waiting.result()) is not nothing:
            waiting = pool.submit(next, source, nothing)
            yield item  # type: ignore[misc]  # `nothing` ended the loop
