"""What stages write into the ledger, whatever ends them, and how runs are listed and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from flows.costs import compare_runs, show_comparison, show_ledger, sum_up_runs
from flows.ledger import Ledger
from flows.plan import StageFailed
from storage.keys import KeyDocument, Recipe
from storage.ledger import UNIT_SCHEMA, StageRun, ledger_files, read_ledger, write_ledger
from storage.root import Root, RootError, open_root
from storage.versions import Failure
from tasks.batch import Outcome, Unit
from tasks.records import Dropped
from tasks.usage import Meter, Usage

MORNING = datetime(2026, 11, 29, 3, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def _rows(root: Root) -> list[dict[str, Any]]:
    return [row for _, table in read_ledger(root, ledger_files(root)) for row in table.to_pylist()]


def _unit(item: str, stage: str = "track") -> Unit:
    return Unit(item, KeyDocument(Recipe(stage, 1), {"item": item}), "tests.workers:double", ())


def _run(ledger: Ledger, unit: Unit, ended: Exception | None) -> None:
    with ledger:
        ledger.add([unit], [Outcome(unit.item, unit.key)], 0.0, 1)
        if ended:
            raise ended


def test_every_way_to_end_is_a_row(root: Root) -> None:
    units = [_unit(name) for name in ("made", "found", "lost", "left")]
    made, found, lost, left = (Outcome(unit.item, unit.key, usage=Usage(100.0, 2.0, 7, 50, 3)) for unit in units)
    outcomes = [
        replace(made, counts={"tracks": 5}, facts={"seconds": 30.5}, stored_bytes=900, device="cpu"),
        replace(found, cached=True, stored_bytes=900),
        replace(lost, failure=Failure("track", "poison", "unreadable", "words of a tool that may name anything")),
        replace(left, pending="no space left (/somewhere)", usage=None),
    ]
    with Ledger(root, "track", "clips") as ledger:
        ledger.add(units, outcomes, began=99.5, workers=2)
    rows = {row["item"]: row for row in _rows(root)}
    assert {name: (row["outcome"], row["reason"]) for name, row in rows.items()} == {
        "made": ("committed", ""),
        "found": ("cached", ""),
        "lost": ("failed", "poison: unreadable"),
        "left": ("pending", "left for later"),
    }
    kept = rows["made"]
    assert (kept["seconds"], kept["waited_seconds"], kept["video_seconds"], kept["peak_bytes"]) == (2.0, 0.5, 30.5, 7)
    assert (kept["bytes_in"], kept["bytes_out"], kept["requests"], kept["workers"]) == (50, 900, 3, 2)
    assert (kept["dataset"], kept["ended"], kept["flow_run"], dict(kept["counts"])) == ("clips", "", "", {"tracks": 5})
    assert rows["found"]["bytes_out"] == 0, "another run wrote it"
    assert rows["left"]["started"] is None
    assert "words of a tool" not in str(rows)


def test_what_a_download_fetched_comes_in(root: Root) -> None:
    unit = _unit("https://a.example/1.mp4", "download")
    outcome = Outcome(unit.item, unit.key, counts={"bytes": 1000}, facts={"duration_seconds": 4}, stored_bytes=1000)
    with Ledger(root, "download", "clips") as ledger:
        ledger.add([unit], [outcome], 0.0, 1)
    (row,) = _rows(root)
    assert (row["bytes_in"], row["bytes_out"], row["video_seconds"]) == (1000, 1000, 4.0)


def test_a_run_without_units_writes_nothing_and_one_that_fails_writes_all(root: Root) -> None:
    with Ledger(root, "track", "clips"):
        pass
    assert ledger_files(root) == []
    unit = _unit("a")
    with pytest.raises(StageFailed):
        _run(Ledger(root, "track", "clips"), unit, StageFailed("below its floor"))
    assert [row["ended"] for row in _rows(root)] == ["StageFailed"]


def test_a_store_that_takes_no_row_fails_the_run_unless_it_failed_before(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RootError("root: it is full")

    monkeypatch.setattr("flows.ledger.write_ledger", refuse)
    unit = _unit("a")
    for ended, expected in ((None, RootError), (StageFailed("floor"), StageFailed)):
        with pytest.raises(expected):
            _run(Ledger(root, "track", "clips"), unit, ended)


def test_a_unit_of_this_process_has_a_row_where_it_is_dropped_too(root: Root) -> None:
    class State:
        def __init__(self, given: Outcome | Exception) -> None:
            self.given = given

        def result(self) -> Outcome:
            if isinstance(self.given, Exception):
                raise self.given
            return self.given

    good, bad = _unit("good", "train"), _unit("bad", "train")
    with Ledger(root, "train", "clips") as ledger:
        ledger.add_single(good, Meter(), 0.0, State(Outcome(good.item, good.key)))
        with pytest.raises(Dropped):
            ledger.add_single(bad, Meter(), 0.0, State(Dropped("permanent", "diverged", "loss is no number")))
    rows = {row["item"]: row for row in _rows(root)}
    assert (rows["good"]["outcome"], rows["bad"]["reason"]) == ("committed", "permanent: diverged")
    assert rows["bad"]["peak_bytes"] > 1 << 20


@pytest.mark.usefixtures("harness")
def test_a_flow_s_run_is_named_with_the_one_that_called_it(root: Root) -> None:
    from prefect import flow
    from prefect.context import FlowRunContext

    from flows.stage import open_run

    unit, ids = _unit("a"), []

    def mine() -> str:
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return str(context.flow_run.id)

    @flow(name="inner", persist_result=False)
    def inner() -> None:
        ids.append(mine())
        with open_run("track", root.url, "clips", {"track_estimator": "klt"}) as run:
            run.ledger.add([unit], [Outcome(unit.item, unit.key)], 0.0, 1)

    @flow(name="outer", persist_result=False)
    def outer() -> None:
        ids.append(mine())
        inner()

    outer()
    (row,) = _rows(root)
    assert [row["parent_run"], row["flow_run"]] == ids


def _write(root: Root, seconds: Sequence[float], day: int = 1, run: StageRun | None = None, **fields: Any) -> str:
    rows = [
        {"stage": "track", "key": f"{number}", "item": "v", "seconds": one, "bytes_in": 10, "bytes_out": 5,
         "peak_bytes": 100, "outcome": "committed", "reason": "", **fields}
        for number, one in enumerate(seconds)
    ]  # fmt: skip
    base = run or StageRun("track", "clips", f"aaaa{day}", "", "here", 2, MORNING, 10.0, "")
    path = write_ledger(
        root, replace(base, started=MORNING + timedelta(days=day)), pa.Table.from_pylist(rows, UNIT_SCHEMA)
    )
    return path.rsplit("-", 2)[1]


def test_a_median_and_its_interval_are_those_of_numpy(root: Root) -> None:
    values = np.random.default_rng(3).lognormal(size=201)
    _write(root, list(values))
    cost = sum_up_runs(list(read_ledger(root, ledger_files(root))))
    assert cost.unit_seconds is not None
    assert cost.unit_seconds.value == pytest.approx(np.median(values))
    assert cost.unit_seconds.low is not None
    assert cost.unit_seconds.high is not None
    rng = np.random.default_rng(0)
    drawn = [np.median(rng.choice(values, len(values))) for _ in range(2000)]
    assert [cost.unit_seconds.low, cost.unit_seconds.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=0.1)
    assert (cost.units_per_second, cost.bytes_in, cost.peak_bytes) == (20.1, 2010, 100)


def test_the_last_two_runs_of_each_stage_are_compared(root: Root) -> None:
    _write(root, [9.0] * 30, day=1)
    _write(root, [1.0 + n / 100 for n in range(30)], day=2)
    _write(root, [2.0 + n / 100 for n in range(30)], day=3, outcome="failed", reason="poison: unreadable")
    (found,) = compare_runs(root)
    assert found.first.unit_seconds and found.second.unit_seconds and found.change  # noqa: PT018
    assert (found.first.unit_seconds.value, found.second.unit_seconds.value) == (1.145, 2.145)
    assert found.change.value == 1.0
    assert found.change.low is not None
    assert found.change.low > 0
    assert found.second.failures == {"poison: unreadable": 30}
    console = Console(file=StringIO(), width=120)
    show_comparison(root.url, (), console, as_json=False)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "slower" in told
    assert "poison: unreadable" in told


def test_runs_are_named_by_the_ledger_by_prefect_and_by_who_called_them(root: Root) -> None:
    first = _write(root, [1.0, 2.0], day=1)
    second = _write(root, [1.0, 3.0], day=2)
    called = StageRun("track", "clips", "bbbb1", "cccc1", "here", 2, MORNING, 10.0, "")
    _write(root, [5.0, 6.0], day=3, run=called)
    _write(root, [5.0, 7.0], day=4, run=replace(called, flow="shard", flow_run="bbbb2"))
    for pair in ([first, second], ["aaaa1", "aaaa2"], [first[:6], "aaaa2"]):
        (one,) = compare_runs(root, pair)
        assert (one.first.ids, one.second.ids) == ((first,), (second,))
    (one,) = compare_runs(root, ["aaaa1", "cccc"])
    assert one.second.flow_runs == ("bbbb1",)
    for names, words in (
        (["aaaa1", "zzz"], "no run's id begins with 'zzz'"),
        (["aaaa", "cccc"], "begins the ids of several runs: aaaa1, aaaa2"),
        (["aaaa1", "bbbb2"], "ran track, bbbb2 ran shard"),
        (["", "aaaa1"], "no run's id begins with ''"),
    ):
        with pytest.raises(RootError, match=words):
            compare_runs(root, names)


def test_one_unit_shows_no_difference(root: Root) -> None:
    for day in (1, 2):
        _write(root, [float(day)], day=day)
    (one,) = compare_runs(root)
    assert one.change is not None
    assert (one.change.value, one.change.low) == (1.0, None)


def test_the_list_is_printed_the_newest_first(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=StringIO(), width=120)
    show_ledger(root.url, console, limit=2, as_json=False)
    assert "has no ledger yet" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(RootError, match="nothing to compare"):
        compare_runs(root)
    oldest = _write(root, [9.0], day=1)
    ids = [_write(root, [1.0], day=day) for day in (2, 3)]
    show_ledger(root.url, console, limit=2, as_json=False)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert told.index(ids[1]) < told.index(ids[0])
    assert oldest not in told
    show_ledger(root.url, console, limit=2, as_json=True)
    assert [one["ids"][0] for one in json.loads(capsys.readouterr().out)] == ids
