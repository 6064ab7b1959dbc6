"""Counters of what stages do, for Prometheus: `--metrics-port` opens an endpoint for them on 127.0.0.1, else none is.

The flows of `tritrack run` count in its own process. Those that a worker starts run in processes of their own and
count in files, which the worker's endpoint adds up.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tasks.logs import say

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
_PREFIX = "tritrack_"


class _Counts:
    """What is counted, each by stage."""

    def __init__(self) -> None:
        self.registry = here = CollectorRegistry()
        stage = ["stage"]
        self.units = Counter(f"{_PREFIX}units", "Units that ended, by outcome.", ["stage", "outcome"], registry=here)
        self.seconds = Histogram(
            f"{_PREFIX}unit_seconds", "Seconds of a unit in its process.", stage, registry=here, buckets=_BUCKETS
        )
        self.bytes = Counter(f"{_PREFIX}bytes", "Bytes read and written.", ["stage", "direction"], registry=here)
        self.requests = Counter(f"{_PREFIX}store_requests", "Requests to the store.", stage, registry=here)
        newest: Any = "mostrecent"
        self.done = Gauge(
            f"{_PREFIX}stage_units_done", "Units or steps done of the stage's last run.", stage, registry=here,
            multiprocess_mode=newest,
        )  # fmt: skip
        self.total = Gauge(
            f"{_PREFIX}stage_units_planned", "Units or steps of the stage's last run.", stage, registry=here,
            multiprocess_mode=newest,
        )  # fmt: skip


@functools.cache
def _counts() -> _Counts:
    return _Counts()


def count_unit(row: dict[str, Any]) -> None:
    """Count a row of the ledger."""
    counts, stage = _counts(), row["stage"]
    counts.units.labels(stage, row["outcome"]).inc()
    counts.bytes.labels(stage, "in").inc(row["bytes_in"])
    counts.bytes.labels(stage, "out").inc(row["bytes_out"])
    if row.get("seconds") is not None:
        counts.seconds.labels(stage).observe(row["seconds"])
        counts.requests.labels(stage).inc(row["requests"])


def tell_progress(stage: str, done: int, total: int) -> None:
    """How far a stage is, in units, or in steps of one long unit."""
    _counts().done.labels(stage).set(done)
    _counts().total.labels(stage).set(total)


def serve_metrics(port: int) -> int:
    """Open the endpoint for what this process counts; its port. Raises ValueError where that is taken."""
    return _serve(port, _counts().registry)


def serve_metrics_of_children(port: int) -> int:
    """Open the endpoint for what the processes count that this one starts from now on; its port.

    The counts lie in a folder that goes with this process. Raises ValueError where the port is taken.
    """
    folder = tempfile.mkdtemp(prefix="tritrack-metrics-")
    os.environ[_FOLDER] = folder  # the library reads it as it is imported in a child
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    registry = CollectorRegistry()
    registry.register(_OfChildren(folder))
    return _serve(port, registry)


def announce(port: int) -> None:
    """Say where the endpoint is."""
    say(f"metrics are at http://127.0.0.1:{port}/metrics", "INFO")


class _OfChildren(Collector):
    """The sum over all children, without what Prefect counts in them."""

    def __init__(self, folder: str) -> None:
        self._all: Collector = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for metric in self._all.collect():
            if metric.name.startswith(_PREFIX):
                yield metric


def _serve(port: int, registry: CollectorRegistry) -> int:
    try:
        server, _ = start_http_server(port, "127.0.0.1", registry)
    except OSError as error:
        raise ValueError(f"metrics-port: {port} cannot be listened on ({error.strerror}); choose another") from error
    return int(server.server_port)
