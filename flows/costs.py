"""What runs cost, read from the ledger: its runs in a list, and two of them side by side. Needs no Prefect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.ledger import LedgerFile, ledger_files, read_ledger
from storage.root import Root, RootError, open_root
from tasks.bootstrap import Interval, Resampled, resample

if TYPE_CHECKING:
    from rich.console import Console

_DRAWS, _FEWEST_DRAWS = 1000, 100
_DRAWN_ITEMS = 2_000_000  # drawn in all: a second
_SEED = 0
_LOOKED_AT = 8  # data sets that share a root take turns
_IDS = ("ledger", "flow_run", "parent_run")


@dataclass(frozen=True)
class RunCost:
    """One or more runs of a stage, summed up.

    `seconds`: of the whole runs; `units_per_second`: units that were committed or failed, over these. `unit_seconds`:
    the median of those units with its 95 % bootstrap interval over units, None where none ran. `bytes_in` and
    `bytes_out` as the ledger has them, `peak_bytes` of the largest unit. `failures` by class and reason. `ended`: what
    ended a run early.
    """

    stage: str
    dataset: str
    ids: tuple[str, ...]
    flow_runs: tuple[str, ...]
    parent_runs: tuple[str, ...]
    started: str
    seconds: float
    units: int
    outcomes: Mapping[str, int]
    units_per_second: float
    unit_seconds: Interval | None
    bytes_in: int
    bytes_out: int
    peak_bytes: int
    failures: Mapping[str, int]
    ended: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs of a stage; `change`: of the median seconds a unit, second minus first, with its 95 % interval."""

    stage: str
    first: RunCost
    second: RunCost
    change: Interval | None


def sum_up_runs(runs: Sequence[tuple[LedgerFile, pa.Table]], draws: int = _DRAWS) -> RunCost:
    """The cost of runs of one stage, oldest first."""
    heads = [table.slice(0, 1).to_pylist()[0] for _, table in runs]
    table = pa.concat_tables([table for _, table in runs])
    outcomes = Counter(table["outcome"].to_pylist())
    seconds = float(sum(head["run_seconds"] for head in heads))
    ran = outcomes["committed"] + outcomes["failed"]
    drawn = _medians(_ran_seconds(table), draws)
    failed = table.filter(pc.equal(table["outcome"], "failed"))
    return RunCost(
        stage=heads[0]["flow"],
        dataset=heads[0]["dataset"],
        ids=tuple(head["ledger"] for head in heads),
        flow_runs=tuple(head["flow_run"] for head in heads),
        parent_runs=tuple(sorted({head["parent_run"] for head in heads} - {""})),
        started=heads[0]["run_started"].astimezone(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        units=len(table),
        outcomes=dict(sorted(outcomes.items())),
        units_per_second=round(ran / seconds, 6) if seconds else 0.0,
        unit_seconds=drawn.interval() if drawn else None,
        bytes_in=pc.sum(table["bytes_in"]).as_py() or 0,
        bytes_out=pc.sum(table["bytes_out"]).as_py() or 0,
        peak_bytes=pc.max(table["peak_bytes"]).as_py() or 0,
        failures=dict(Counter(failed["reason"].to_pylist()).most_common()),
        ended=tuple(head["ended"] for head in heads if head["ended"]),
    )


def last_run(root: Root, stage: str, dataset: str) -> RunCost | None:
    """The newest run of a stage on a data set that is in the ledger, of the last few; None where there is none."""
    files = [file for file in ledger_files(root) if file.flow == stage][-_LOOKED_AT:]
    for file in reversed(files):  # one after the other: a run over many videos has a long table
        for run in read_ledger(root, [file]):
            if run[1].slice(0, 1).to_pylist()[0]["dataset"] == dataset:
                return sum_up_runs([run], _FEWEST_DRAWS)
    return None


def compare_runs(root: Root, names: Sequence[str] = ()) -> list[Comparison]:
    """Two runs of each stage side by side: those whose ids begin so (of the ledger, of the stage's flow run, or of the
    run that called it), or where no names are given the last two of each stage that ran units.

    Raises RootError where a name fits no run or several, or where there are no two runs of a stage.
    """
    files = ledger_files(root)
    if names:
        first, second = (_of_name(root, files, name) for name in names)
        chosen = {stage: (first[stage], second[stage]) for stage in first if stage in second}
        if not chosen:
            ran = [", ".join(sorted(one)) for one in (first, second)]
            raise RootError(f"ledger: {names[0]} ran {ran[0]}, {names[1]} ran {ran[1]}; give runs of one stage")
    else:
        chosen = {stage: ([own[-2]], [own[-1]]) for stage, own in _by_stage(files).items() if len(own) > 1}
        if not chosen:
            raise RootError("ledger: no stage has run units twice yet, so there is nothing to compare")
    return [_compared(root, stage, *pair) for stage, pair in chosen.items()]


def _compared(root: Root, stage: str, first: Sequence[LedgerFile], second: Sequence[LedgerFile]) -> Comparison:
    read = [list(read_ledger(root, files)) for files in (first, second)]
    for files, runs in zip((first, second), read, strict=True):
        if len(runs) < len(files):
            raise RootError(f"ledger: {files[0].path} cannot be read; run: tritrack fsck")
    values = [np.concatenate([_ran_seconds(table) for _, table in runs]) for runs in read]
    draws = min(_draws(len(one)) for one in values)
    drawn = [_medians(one, draws, _SEED + number) for number, one in enumerate(values)]
    change = (drawn[1] - drawn[0]).interval() if drawn[0] and drawn[1] else None
    if min(map(len, values)) < 2 and change:
        change = Interval(change.value, None, None)  # one unit has no scatter
    return Comparison(stage, sum_up_runs(read[0], draws), sum_up_runs(read[1], draws), change)


def _of_name(root: Root, files: Sequence[LedgerFile], name: str) -> dict[str, list[LedgerFile]]:
    """By stage the runs whose id begins so: those of one flow run, or all that one run called."""
    found: dict[str, list[LedgerFile]] = {}
    for file, table in read_ledger(root, files, _IDS):
        for identity in set(table.slice(0, 1).to_pylist()[0].values()) - {""}:
            if name and identity.startswith(name):
                found.setdefault(identity, []).append(file)
    if not found:
        newest = ", ".join(file.id for file in files[-8:]) or "none"
        raise RootError(f"ledger: no run's id begins with {name!r}; the newest are: {newest}")
    if len(found) > 1:
        raise RootError(
            f"ledger: {name!r} begins the ids of several runs: {', '.join(sorted(found))}; give more digits"
        )
    return _by_stage(next(iter(found.values())))


def _by_stage(files: Sequence[LedgerFile]) -> dict[str, list[LedgerFile]]:
    found: dict[str, list[LedgerFile]] = {}
    for file in files:
        found.setdefault(file.flow, []).append(file)
    return found


def _ran_seconds(table: pa.Table) -> npt.NDArray[np.float64]:
    """Seconds of the units that ran to an end (N,), in no order."""
    ended = table.filter(pc.is_in(table["outcome"], pa.array(["committed", "failed"])))
    return np.asarray(ended["seconds"].drop_null().to_numpy(), np.float64)


def _draws(number: int) -> int:
    return max(_FEWEST_DRAWS, min(_DRAWS, _DRAWN_ITEMS // max(1, number)))


def _medians(values: npt.NDArray[np.float64], draws: int, seed: int = _SEED) -> Resampled | None:
    """The median of values (N,), and of `draws` resamples of as many; None where there are no values."""
    if not len(values):
        return None
    ordered = np.sort(values)
    middle = ((len(ordered) - 1) // 2, len(ordered) // 2)

    def median(drawn: npt.NDArray[np.int64]) -> float:
        return float(ordered[np.searchsorted(np.cumsum(drawn), middle, side="right")].mean())

    return resample(median, len(ordered), min(draws, _draws(len(ordered))), seed)


def show_ledger(url: str, console: Console, *, limit: int, as_json: bool) -> None:
    """The newest runs, the newest first; as JSON the oldest first."""
    from rich.markup import escape
    from rich.table import Column, Table

    from flows.maintain import dump, size_in_words

    root = open_root(url, create=False)
    runs = [sum_up_runs([run], _FEWEST_DRAWS) for run in read_ledger(root, ledger_files(root)[-limit:])]
    if as_json:
        dump([asdict(run) for run in runs])
        return
    if not runs:
        console.print(f"{root.url} has no ledger yet: a stage that runs units writes it")
        return
    named = (Column("id", no_wrap=True), Column("began (UTC)", no_wrap=True), Column("stage", no_wrap=True))
    others = ("data set", "units", "failed", "seconds", "units/s", "s a unit", "bytes in, out", "peak")
    table = Table(*named, *(Column(name, overflow="fold") for name in others), padding=(0, 0))
    for run in reversed(runs):
        failed = ", ".join([str(run.outcomes.get("failed", 0)), *(f"ended by {name}" for name in run.ended)])
        median = f"{run.unit_seconds.value:.3g}" if run.unit_seconds else ""
        figures = (f"{run.units:,}", failed, f"{run.seconds:,.1f}", f"{run.units_per_second:.3g}", median)
        sizes = f"{size_in_words(run.bytes_in)}, {size_in_words(run.bytes_out)}", size_in_words(run.peak_bytes)
        table.add_row(run.ids[0], run.started[5:16].replace("T", " "), run.stage, escape(run.dataset), *figures, *sizes)
    console.print(table)


def show_comparison(url: str, names: Sequence[str], console: Console, *, as_json: bool) -> None:
    """Two runs side by side, stage by stage."""
    from rich.table import Column, Table

    from flows.maintain import dump, size_in_words

    comparisons = compare_runs(open_root(url, create=False), names)
    if as_json:
        dump([asdict(one) for one in comparisons])
        return
    for one in comparisons:
        first, second = one.first, one.second
        title = f"{one.stage}, {first.units:,} and {second.units:,} units"
        columns = [
            Column(f"{run.ids[0]}\n{run.started[:16].replace('T', ' ')}", overflow="fold") for run in (first, second)
        ]
        table = Table("", *columns, "second / first", title=title, title_justify="left")
        table.add_row(
            "seconds", f"{first.seconds:,.1f}", f"{second.seconds:,.1f}", _ratio(first.seconds, second.seconds)
        )
        table.add_row(
            "units a second", _rate(first), _rate(second), _ratio(first.units_per_second, second.units_per_second)
        )
        table.add_row(
            "median seconds a unit", interval_in_words(first.unit_seconds), interval_in_words(second.unit_seconds), ""
        )
        table.add_row("  second - first", "", interval_in_words(one.change, "+.3g"), _verdict(one.change))
        for name in ("bytes_in", "bytes_out", "peak_bytes"):
            values = getattr(first, name), getattr(second, name)
            table.add_row(name.replace("_", " "), *map(size_in_words, values), _ratio(*values))
        for reason in dict.fromkeys([*first.failures, *second.failures]):
            table.add_row(reason, *(str(run.failures.get(reason, 0)) for run in (first, second)), "")
        console.print(table)


def _rate(run: RunCost) -> str:
    return f"{run.units_per_second:.3g}"


def interval_in_words(found: Interval | None, form: str = ".3g") -> str:
    """A figure and its interval, each in a format of `format`; nothing where there is none."""
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.value:{form}}"
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


def _ratio(first: float, second: float) -> str:
    return f"{second / first:.2f}" if first else ""


def _verdict(change: Interval | None) -> str:
    if change is None or change.low is None or change.high is None:
        return ""
    return "slower" if change.low > 0 else "faster" if change.high < 0 else "no difference shown"
