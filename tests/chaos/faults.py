"""Faults in `storage.root.Root`, in every process of a run: errors, lost responses, delays, a full disk, the kill.

Workers and ranks open their own root, so a wrapper object would not reach them: each Python of a run loads the
`sitecustomize` beside this file, and that wraps the operations of the class once its module is imported. Reads
nothing but the environment, so that a process costs milliseconds more. Roots that are not local are counted and
may be killed in, and meet their faults in the proxy.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "TRITRACK_CHAOS"
READS = ("exists", "size", "modified", "read_bytes", "read_range", "digest", "download", "names")
WRITES = ("write_bytes", "create_bytes", "upload", "remove")
_PARENT = "TRITRACK_CHAOS_PARENT"
_MODULE = "storage.root"
_STAGES = {"d": "download", "k": "track", "s": "shard", "t": "train", "e": "evaluate"}
_MARKS = {stage: mark for mark, stage in _STAGES.items()}
_READ_FAULTS = ("error", "slow")
_WRITE_FAULTS = ("error", "error", "slow", "slow", "lost_response", "lost_response", "lost_response", "full_disk")
_SLOW_SECONDS = (0.02, 0.2)


@dataclass(frozen=True)
class Orders:
    """What one attempt is to meet, the same for all its processes.

    `rate`: share of operations on a local root that meet a fault; `folder`: where operations are counted and
    events written; `kill_at`: the operation (from 1; with `kill_stage`, of those on that stage's paths) at which the
    first process of the attempt gets SIGKILL, whichever process performs it; 0 for none. `spare_intake`: no full
    disk for downloads, which the pipeline would answer by going on with fewer videos.
    """

    seed: str
    rate: float
    folder: str
    kill_at: int = 0
    kill_stage: str = ""
    spare_intake: bool = False

    def environment(self) -> dict[str, str]:
        """The variable that hands the orders to every process of the attempt."""
        return {VARIABLE: json.dumps(asdict(self))}


@dataclass(frozen=True)
class Event:
    """One line of an attempt's events: "fault", "start" (a unit that is not committed), "commit" or "kill"."""

    event: str
    what: str
    path: str


def read_events(folder: Path) -> list[Event]:
    """The events of an attempt, in their order."""
    file = folder / _Journal.EVENTS
    lines = file.read_text().splitlines() if file.exists() else []
    return [Event(**json.loads(line)) for line in lines]


def count_operations(folder: Path) -> Counter[str]:
    """The operations that an attempt's processes began, by the first folder of their paths (a stage, mostly)."""
    file = folder / _Journal.OPERATIONS
    marks = Counter(file.read_text() if file.exists() else "")
    return Counter({_STAGES.get(mark, ""): number for mark, number in marks.items()})


def install() -> None:
    """Wrap the operations of Root in this process, once its module is imported; the first process is the parent."""
    os.environ.setdefault(_PARENT, str(os.getpid()))
    sys.meta_path.insert(0, ChangingFinder(_MODULE, _disturb))


class ChangingFinder(MetaPathFinder):
    """Lets one module be found as ever, and changes what it defines once it is imported."""

    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self._name = name
        self._change = change

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None, "the project is on the path"
        assert spec.loader is not None, f"{name} is a module"
        spec.loader = _ChangingLoader(spec.loader, self._change)
        return spec


class _ChangingLoader(Loader):
    def __init__(self, inner: Loader, change: Callable[[Any], None]) -> None:
        self._inner = inner
        self._change = change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        self._change(module)


def _disturb(module: Any) -> None:
    disturbance = _Disturbance(Orders(**json.loads(os.environ[VARIABLE])))
    for name in (*READS, *WRITES):
        setattr(module.Root, name, disturbance.wrap(name, getattr(module.Root, name)))
    module.Root._persistently = disturbance.wrap_trying(module.Root._persistently)


class _Disturbance:
    """The kill and the faults of this process.

    A kill comes at an operation of the root, and operations within an operation (a fallback's reads) are part of it.
    A fault comes below what tries again: each attempt at an operation meets its own.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._journal = _Journal(Path(orders.folder))
        self._current = threading.local()  # `name` and `number` of this thread's operation

    def wrap(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """An operation, counted, and the last one where the orders say so."""

        @functools.wraps(method)
        def call(root: Any, *arguments: Any, **named: Any) -> Any:
            if getattr(self._current, "name", ""):
                return method(root, *arguments, **named)
            path = str(arguments[1] if name == "upload" else arguments[0])
            self._current.name, self._current.number = name, self._journal.count(path)
            try:
                return self._perform(root, path, lambda: method(root, *arguments, **named))
            finally:
                self._current.name = ""

        return call

    def wrap_trying(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """What tries an operation again: each of its attempts may fail."""

        @functools.wraps(method)
        def call(root: Any, path: str, operation: Callable[[], Any], *arguments: Any) -> Any:
            name, number = getattr(self._current, "name", ""), getattr(self._current, "number", 0)
            if not root.is_local or not name:
                return method(root, path, operation, *arguments)
            draws = random.Random(f"{self._orders.seed}/faults/{number}")
            return method(root, path, lambda: self._fail(draws, root, name, path, operation), *arguments)

        return call

    def _perform(self, root: Any, path: str, method: Callable[[], Any]) -> Any:
        name, number = self._current.name, self._current.number
        if not self._is_last(number, path):
            return self._told(name, path, method)
        moment = random.Random(f"{self._orders.seed}/kill").choice(("before", "within", "after"))
        if moment == "within" and root.is_local and name in WRITES:
            _leave_half(root, path)
        if moment != "after":
            self._kill(name, path)
        try:
            return self._told(name, path, method)
        finally:
            if moment == "after":
                self._kill(name, path)

    def _fail(self, draws: random.Random, root: Any, name: str, path: str, operation: Callable[[], Any]) -> Any:
        """One attempt, under a fault or without one."""
        if draws.random() >= self._orders.rate:
            return operation()
        fault = draws.choice(_WRITE_FAULTS if name in WRITES else _READ_FAULTS)
        if fault == "full_disk" and self._orders.spare_intake and path.startswith(("download/", "videos/")):
            fault = "error"
        self._journal.note("fault", fault, f"{name} {path}")
        if fault == "slow":
            time.sleep(draws.uniform(*_SLOW_SECONDS))
        elif fault == "error":
            raise OSError(errno.EIO, "chaos: input/output error", path)
        elif fault == "full_disk":
            _leave_half(root, path)
            raise OSError(errno.ENOSPC, "chaos: no space left on device", path)
        result = operation()
        if fault == "lost_response":
            raise OSError(errno.EIO, "chaos: the response was lost", path)
        return result

    def _is_last(self, number: int, path: str) -> bool:
        stage = self._orders.kill_stage
        if not stage:
            return number == self._orders.kill_at
        return path.startswith(f"{stage}/") and self._journal.number_of(stage, number) == self._orders.kill_at

    def _told(self, name: str, path: str, method: Callable[[], Any]) -> Any:
        """A manifest that is looked for and missing is a unit begun; one created is a unit committed."""
        if not path.endswith("/manifest.json"):
            return method()
        try:
            result = method()
        except FileNotFoundError:
            self._journal.note("start", name, path)
            raise
        if name == "create_bytes":
            self._journal.note("commit", "first" if result else "again", path)
        return result

    def _kill(self, name: str, path: str) -> None:
        self._journal.note("kill", name, path)
        os.kill(int(os.environ[_PARENT]), signal.SIGKILL)


class _Journal:
    """Counts and events shared by the processes of an attempt: appends to files, which no two writers mix."""

    OPERATIONS, EVENTS = "operations", "events"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def count(self, path: str) -> int:
        """One more operation; its number, from 1."""
        file = self._open(self.OPERATIONS)
        try:
            os.write(file, _MARKS.get(path.split("/", 1)[0], ".").encode())
            return os.lseek(file, 0, os.SEEK_CUR)  # behind our own byte, whoever else appends
        finally:
            os.close(file)

    def number_of(self, stage: str, number: int) -> int:
        """How many of the first `number` operations were on the stage's paths."""
        return (self._folder / self.OPERATIONS).read_text()[:number].count(_MARKS[stage])

    def note(self, event: str, what: str, path: str) -> None:
        line = json.dumps(asdict(Event(event, what, path))) + "\n"
        file = self._open(self.EVENTS)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _leave_half(root: Any, path: str) -> None:
    """What a write cut in the middle leaves: a temporary beside the target."""
    target = Path(root.full(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name(f".{target.name}.{os.urandom(4).hex()}").write_bytes(b"half")
