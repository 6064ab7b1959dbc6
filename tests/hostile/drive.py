"""The hostile corpus down the real path: `python -m tests.hostile.drive [--track] [--only NAME] [--all]`.

Prints each specimen that did not end as it should (with `--all` every one), and a line for each family. The corpus is
the same at each call.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.hostile.hunt import Report, Result, hunt

_COLUMNS = ("kept", "listed", "permanent", "transient", "poison")
_REASONS_SHOWN = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt, print the tables, and return 0 where nothing crashed, hung, leaked or ended wrongly."""
    given = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tritrack-hostile-") as folder:
        report = hunt(Path(folder), given.lanes, given.patience, given.track, given.only)
    _show_results([each for each in report.results if given.all or each.verdict], console)
    _show_families(report, console)
    _show_summary(report, time.monotonic() - started, console)
    return 0 if report.results and not report.faults else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.hostile.drive", description=__doc__)
    parser.add_argument("--lanes", type=int, default=3, help="specimens in flight, and as many of those that wait")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds after which a specimen counts as a hang")
    parser.add_argument("--track", action="store_true", help="run what is kept through the track stage too")
    parser.add_argument("--only", default="", metavar="TEXT", help="specimens whose name contains this")
    parser.add_argument("--all", action="store_true", help="print every specimen, not only those that ended wrongly")
    return parser


def _show_results(results: Sequence[Result], console: Console) -> None:
    if not results:
        return
    table = Table(title="Specimens")
    for column in ("specimen", "ended as", "reason", "s", "verdict", "words"):
        table.add_column(column, overflow="fold")
    for each in results:
        for ending in (each.ending, each.tracked):
            if ending is not None:
                name = each.specimen.name if ending is each.ending else "  tracked"
                told = ending.words.strip().splitlines()[-1:] if ending.kind == "crash" else [ending.words]
                words = "".join(told)
                words = words if len(words) < 400 else f"{words[:200]} ... {words[-200:]}"
                seconds = f"{ending.seconds:.1f}" if ending is each.ending else ""
                row = (name, ending.kind, ending.reason, seconds, each.verdict, words)
                table.add_row(*(escape(repr(cell)[1:-1] if cell is words else cell) for cell in row))
    console.print(table)


def _show_families(report: Report, console: Console) -> None:
    table = Table(title="Families")
    table.add_column("family")
    for column in ("tried", *_COLUMNS, "crashes", "hangs", "surprises", "slowest s"):
        table.add_column(column, justify="right")
    table.add_column("reasons")
    families = sorted({each.specimen.family for each in report.results})
    for family in [*families, ""]:
        results = [each for each in report.results if family in ("", each.specimen.family)]
        kinds = Counter(each.ending.kind for each in results)
        verdicts = Counter(each.verdict for each in results)
        reasons = Counter(each.ending.reason for each in results if each.ending.reason)
        told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common(_REASONS_SHOWN))
        numbers = [len(results), *(kinds[kind] for kind in _COLUMNS)]
        numbers += [verdicts[verdict] for verdict in ("crash", "hang", "surprise")]
        slowest = max((each.ending.seconds for each in results), default=0.0)
        table.add_row(family or "all", *map(str, numbers), f"{slowest:.1f}", told, end_section=family == families[-1])
    console.print(table)


def _show_summary(report: Report, seconds: float, console: Console) -> None:
    tracked = [each for each in report.results if each.tracked]
    verdicts = Counter(each.verdict for each in report.results)
    console.print(
        f"{len(report.results)} inputs tried in {seconds:.0f} s: {verdicts['crash']} crashes, "
        f"{verdicts['hang']} hangs, {verdicts['surprise']} endings that are not right"
        + (f"; {len(tracked)} videos tracked" if tracked else "")
    )
    for what, found in (
        ("requests to servers that must not be asked", report.asked),
        ("leaks of a file that must not be read", report.leaks),
        ("names on disk that came from outside", report.strange),
        ("outcomes whose words hold control characters", report.unclean),
    ):
        console.print(f"{what}: {len(found)}" + "".join(f"\n  {escape(each[:200])}" for each in list(found)[:20]))


if __name__ == "__main__":
    raise SystemExit(main())
