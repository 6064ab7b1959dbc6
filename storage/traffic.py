"""What this process has asked of its stores since it began: bytes that it read, and requests."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Traffic(NamedTuple):
    """Bytes read and operations on the store: a file, a range of one, a listing. Those of local disk count too.

    A file that goes up in parts is one operation, and so is one that was tried again.
    """

    bytes_in: int = 0
    requests: int = 0

    def since(self, before: Traffic) -> Traffic:
        return Traffic(self.bytes_in - before.bytes_in, self.requests - before.requests)


_lock = threading.Lock()  # a root is used by many threads
_counted = Traffic()


def traffic() -> Traffic:
    """The counts as they stand now."""
    return _counted


def count(bytes_in: int = 0, requests: int = 0) -> None:
    """Add to the counts."""
    global _counted
    with _lock:
        _counted = Traffic(_counted.bytes_in + bytes_in, _counted.requests + requests)
