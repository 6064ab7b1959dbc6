"""A pool whose workers stand on the nodes of a Ray cluster, each with the CPUs and GPUs that it asks for.

Ray is used as it is, not through prefect-ray (0.6.0), which runs a whole Prefect task on a node: a batch's intake and
progress would be copies there, so that several batches ask a host for several budgets; a batch that brings its node
down takes three more with it; every node must reach the Prefect server (one without its address starts a server of its
own) and is sent Prefect's settings, passwords included; and a task with a GPU gets a new process each time. Here a node
holds one process a worker, and all that Prefect sees stays where the flow runs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.limits import Limits
from tasks.pool import Call, Reply, Take, WorkerPool, replay
from tasks.ray_cluster import connected, prepare

_TELL_EVERY_SECONDS = 60.0
_LOST_IN_ROW = 3  # workers that are lost before they have stood, for each that is asked for
_log = logging.getLogger(__name__)

Lost = Literal["lost"]


@dataclass
class _Place:
    """A worker's place on the cluster: an actor, and the node on which it stands."""

    actor: Any
    node: str = ""


@dataclass
class RayPool(WorkerPool):
    """As WorkerPool, over the cluster of RAY_ADDRESS, or one of its own on this machine that ends with the pool.

    Each of the `workers` is one process on some node, within the limits there as it would be here, that has `num_cpus`
    CPUs and `num_gpus` GPUs of its node to itself (0 GPUs where they are `gpus_where_any` and the cluster has none).
    Where the cluster has no room, fewer work, and the others join once it has. What a node held that is lost begins
    again on another one; a call that loses its machine twice is tried again alone, once all others have ended, and
    comes back as poison where it loses that too.

    `first`: calls that each worker makes before any other; a ValueError of theirs refuses its node, and is raised in
    one line. Raises RuntimeError where workers cannot stand on the cluster at all.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    gpus_where_any: bool = False
    first: Sequence[Call] = ()
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)
    _places: list[_Place] = field(default_factory=list, init=False)
    _free: list[_Place] = field(default_factory=list, init=False)
    _coming: dict[Any, _Place] = field(default_factory=dict, init=False)  # by the reference to their greeting
    _at_work: dict[Any, tuple[_Place, int]] = field(default_factory=dict, init=False)  # with the index of their call
    _lost_in_row: int = field(default=0, init=False)

    def close(self) -> None:
        """End the workers; what they are doing is lost."""
        if self._places:
            import ray

            for place in self._places:
                ray.kill(place.actor)
        for held in (self._places, self._free, self._coming, self._at_work):
            held.clear()
        self._open.close()

    def _run(self, calls: Sequence[Call], take: Take) -> Iterator[tuple[int, Reply | None]]:
        self._connect()
        while len(self._places) < min(self.workers, len(calls)):
            self._ask()
        waiting, lost, more = deque[int](), Counter[int](), True
        while True:
            pause: float | None = None
            while pause is None and (self._free if waiting else more and (self._free or not self._at_work)):
                if waiting:
                    index = waiting.popleft()
                    self._hand(index, calls[index])
                elif (given := take()) is None:
                    more = False
                elif isinstance(given, float):
                    pause = given
                else:
                    waiting.append(given)
            if not (more or waiting or self._at_work):
                return  # whoever else is coming is not waited for
            for index, reply in self._heard(pause):
                if reply == "lost":
                    lost[index] += 1
                    if lost[index] == 1:
                        waiting.append(index)
                        continue
                    reply = None
                if reply is not None and reply.error is not None:
                    raise reply.error
                yield index, reply and replay(reply)

    def _connect(self) -> None:
        prepare()
        import ray

        if not ray.is_initialized():
            self._open.enter_context(connected(least_cpus=math.ceil(self.num_cpus)))
        if self.gpus_where_any and not ray.cluster_resources().get("GPU"):
            self.num_gpus = 0.0

    def _ask(self) -> None:
        """Ask the cluster for one more worker."""
        import ray

        stand = ray.remote(Worker).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_restarts=0)
        place = _Place(stand.remote(self.limits, tuple(self.preload)))
        self._places.append(place)
        self._coming[place.actor.greet.remote(tuple(self.first))] = place

    def _hand(self, index: int, call: Call) -> None:
        place = self._free.pop()
        self._at_work[place.actor.perform.remote(call)] = place, index

    def _heard(self, pause: float | None) -> Iterator[tuple[int, Reply | Lost | None]]:
        """(index, reply) of a call that has ended, its reply None where its process died and "lost" where its node did.

        Waits for a call's end, for a worker that comes, or for so many seconds.
        """
        import ray

        references = [*self._at_work, *self._coming]
        if not references:
            time.sleep(min(pause or 0.0, _TELL_EVERY_SECONDS))
            return
        timeout = _TELL_EVERY_SECONDS if pause is None else min(pause, _TELL_EVERY_SECONDS)
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout)
        if not ready and not self._at_work and not self._free:
            self._tell_of_waiting()
        for reference in ready:
            if place := self._coming.pop(reference, None):
                self._welcome(place, reference)
                continue
            place, index = self._at_work.pop(reference)
            try:
                reply: Reply | None = ray.get(reference)
            except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                _log.warning("a worker on %s was lost, what it had begun begins again (%s)", place.node, _told(error))
                self._replace(place)
                yield index, "lost"
            else:
                self._free.append(place)
                yield index, reply

    def _welcome(self, place: _Place, greeting: Any) -> None:
        """Take a worker that has come into the circle; raises ValueError where it is of no use."""
        import ray

        try:
            place.node, refusal = ray.get(greeting)
        except ray.exceptions.RayActorError as error:
            self._lost_in_row += 1
            if error.actor_init_failed or self._lost_in_row > _LOST_IN_ROW * self.workers:
                raise RuntimeError(f"ray: workers cannot stand on this cluster: {error}") from error
            _log.warning("a worker was lost before it stood, another one is asked for (%s)", _told(error))
            self._replace(place)
            return
        if isinstance(refusal, ValueError):
            raise ValueError(f"ray: node {place.node}: {refusal}") from refusal
        if refusal is not None:
            raise refusal
        self._lost_in_row = 0
        self._free.append(place)

    def _replace(self, place: _Place) -> None:
        import ray

        self._places.remove(place)
        ray.kill(place.actor)
        self._ask()

    def _tell_of_waiting(self) -> None:
        import ray

        wanted = f"{self.num_cpus:g} CPU" + (f" and {self.num_gpus:g} GPU" if self.num_gpus else "")
        there = {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
        _log.warning(
            "waiting for a place with %s on the Ray cluster, which has %g CPU and %g GPU", wanted, *there.values()
        )


class Worker:
    """An actor: stands on a node for one worker process there, which keeps the limits as on this machine."""

    def __init__(self, limits: Limits, preload: Sequence[str]) -> None:
        vars(sys.modules["__main__"]).pop("__file__", None)  # else the process runs Ray's own program first
        self._pool = WorkerPool(1, limits, preload)

    def greet(self, first: Sequence[Call]) -> tuple[str, BaseException | None]:
        """The node's name and first digits, and the error that keeps this worker from being of use there."""
        import ray

        node = f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
        for call in first:
            if (reply := self._pool.attempt(call)) is not None and reply.error is not None:
                return node, reply.error
        return node, None

    def perform(self, call: Call) -> Reply | None:
        return self._pool.attempt(call)


def _told(error: Exception) -> str:
    """The last line of what Ray says, which has the cause."""
    return str(error).strip().split("\n")[-1].strip()
