"""Comparisons of networks: their unit, and what it holds for tables. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.results import file_place
from storage.manifests import Manifest, require_manifest
from storage.root import Root
from storage.tables import read_table
from storage.versions import Version
from tasks.batch import Unit
from tasks.evaluate.inputs import Entrant
from tasks.evaluate.key import comparison_document
from tasks.evaluate.parts import head_metrics

PAGE, ROWS = "comparison.html", "comparison.parquet"


def comparison_unit(name: str, groups: Mapping[str, Sequence[Entrant]], base: str) -> Unit:
    """The unit that compares the entrants of each group with the one labelled `base`."""
    document = comparison_document(name, base, groups)
    arguments = (name, {group: tuple(entrants) for group, entrants in groups.items()}, base)
    return Unit("comparison", document, "tasks.evaluate.comparison:write_comparison", arguments)


def page_place(root: Root, version: Version, name: str) -> str:
    """The page's file or URL."""
    return file_place(root, _unit(root, version, name).files[PAGE])


def shown_rows(root: Root, version: Version, name: str) -> list[dict[str, Any]]:
    """The rows of a comparison (COMPARISON_SCHEMA): of each benchmark its first metric, and entrants without any."""
    rows = read_table(root, _unit(root, version, name).files[ROWS]).to_pylist()
    heads = head_metrics((row["benchmark"], row["metric"]) for row in rows)
    return [row for row in rows if row["metric"] == heads[row["benchmark"]]]


def show_comparison(root: Root, version: Version, name: str, console: Console) -> None:
    """Print a table a group and benchmark, and where the page is."""
    rows = shown_rows(root, version, name)
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row for row in rows if row["group"] == group]
        for benchmark, metric in dict.fromkeys((row["benchmark"], row["metric"]) for row in mine if row["benchmark"]):
            title = f"{group}\n{benchmark}: {metric}"
            table = Table(
                "", "value (95 % interval)", "above the base", "seeds", title=escape(title), title_justify="left"
            )
            for row in mine:
                if row["benchmark"] == benchmark:
                    cells = (
                        _cell(row, "value", "low", "high"),
                        _cell(row, "above_base", "above_low", "above_high", "+"),
                    )
                    table.add_row(escape(row["entrant"]), *cells, str(row["num_seeds"]))
            console.print(table)
        for row in mine:
            if row["note"]:
                console.print(f"{escape(row['entrant'])}: {escape(row['note'])}", soft_wrap=True)
    console.print(f"Comparison: {page_place(root, version, name)}", soft_wrap=True)


def _cell(row: Mapping[str, Any], value: str, low: str, high: str, sign: str = "") -> str:
    if row[value] is None:
        return ""
    shape = f"{sign}.1f" if row["unit"] == "degrees" else f"{sign}.3f"
    bounds = "" if row[low] is None else f" ({row[low]:{shape}} to {row[high]:{shape}})"
    return f"{row[value]:{shape}}{bounds}"


def _unit(root: Root, version: Version, name: str) -> Manifest:
    return require_manifest(root, "evaluate", version.units[f"evaluate/{name}"].key)
