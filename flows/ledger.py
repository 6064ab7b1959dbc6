"""What a stage's run writes into the ledger: a row a unit that it ran or tried, once, as it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from prefect.runtime import flow_run

from flows.metrics import count_unit
from flows.this_run import this_flow_run
from storage.ledger import UNIT_SCHEMA, StageRun, write_ledger
from storage.processes import host_name, num_cores
from storage.root import Root, RootError
from tasks.batch import Outcome, Unit, failed
from tasks.records import Dropped, Paused
from tasks.usage import Meter

_log = logging.getLogger(__name__)


@dataclass
class Ledger:
    """Gathers the rows of one stage's run, and writes them as its block ends, whatever ended it.

    What the planner found committed has no row, nor what never reached a worker. A store that cannot take the rows
    fails the run, unless that has failed already.
    """

    root: Root
    flow: str
    dataset: str
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)
    _rows: list[pa.RecordBatch] = field(default_factory=list)
    _flow_runs: tuple[str, str] = field(default_factory=lambda: _flow_runs())  # asked for while the server answers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._rows:
            return
        run, parent = self._flow_runs
        seconds = time.monotonic() - self._clock
        ended = kind.__name__ if kind else ""
        host, cores = host_name(), num_cores()
        stage_run = StageRun(self.flow, self.dataset, run, parent, host, cores, self._started, seconds, ended)
        try:
            write_ledger(self.root, stage_run, pa.Table.from_batches(self._rows, UNIT_SCHEMA))
        except RootError as refused:
            if error is None:
                raise
            _log.warning("%s: what this run cost is not in the ledger: %s", self.flow, refused)

    def add(self, units: Sequence[Unit], outcomes: Iterable[Outcome], began: float, workers: int) -> None:
        """Rows of units that were handed to `workers` processes at `began` (seconds since the epoch)."""
        by_key = {unit.key: unit for unit in units}
        rows = [_row(by_key[one.key].document.stage, one, began, workers) for one in outcomes]
        self._rows.append(pa.RecordBatch.from_pylist(rows, UNIT_SCHEMA))
        for row in rows:
            count_unit(row)

    def add_single(self, unit: Unit, meter: Meter, began: float, state: Any) -> Outcome:
        """The row of a unit that this process ran, and its outcome; raises what its task raised."""
        try:
            outcome: Outcome = state.result()
        except Dropped as dropped:
            self._add_one(unit, failed(unit, dropped), meter, began)
            raise
        except Paused as paused:
            self._add_one(unit, Outcome(unit.item, unit.key, pending=str(paused)), meter, began)
            raise
        self._add_one(unit, outcome, meter, began)
        return outcome

    def _add_one(self, unit: Unit, outcome: Outcome, meter: Meter, began: float) -> None:
        self.add([unit], [replace(outcome, usage=meter.read())], began, 1)


def _row(stage: str, outcome: Outcome, began: float, workers: int) -> dict[str, Any]:
    usage, failure = outcome.usage, outcome.failure
    fetched = outcome.counts.get("bytes", 0) if stage == "download" and not outcome.cached else 0
    row: dict[str, Any] = {
        "stage": stage,
        "key": outcome.key,
        "item": outcome.item,
        "bytes_in": fetched + (usage.bytes_in if usage else 0),
        "bytes_out": 0 if outcome.cached else outcome.stored_bytes,
        "video_seconds": _video_seconds(outcome.facts),
        "counts": list(outcome.counts.items()),
        "device": outcome.device,
        "workers": workers,
        "outcome": _named(outcome),
        "reason": f"{failure.kind}: {failure.reason}" if failure else "left for later" if outcome.pending else "",
    }
    if usage:
        row |= {
            "started": datetime.fromtimestamp(usage.started, UTC),
            "seconds": usage.seconds,
            "waited_seconds": max(0.0, usage.started - began),
            "requests": usage.requests,
            "peak_bytes": usage.peak_bytes,
        }
    return row


def _named(outcome: Outcome) -> str:
    if outcome.failure:
        return "failed"
    if outcome.pending:
        return "pending"
    return "cached" if outcome.cached else "committed"


def _video_seconds(facts: Mapping[str, Any]) -> float | None:
    """As a download's and a track's manifest name it."""
    found = facts.get("duration_seconds", facts.get("seconds"))
    return float(found) if isinstance(found, (int, float)) else None


def _flow_runs() -> tuple[str, str]:
    """Ids of this flow run and of the one that called it; empty where there is none."""
    run = this_flow_run()
    if run is None:
        return "", ""
    is_called = run.parent_task_run_id is not None
    return str(run.id), str(flow_run.parent_flow_run_id) if is_called else ""
