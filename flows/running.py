"""Runs started from a terminal: plan, run the flow where there is something to do, and show what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from flows.description import Description, refuse_secret
from flows.parameters import STAGES
from flows.plan import StagePlan, all_failures, is_done, judge, plan_run
from flows.resolve import resolve
from flows.results import report_place, scores_of
from flows.selection import select
from flows.sources import open_description
from storage.root import Root, open_root
from storage.versions import Version, counts_of, latest_version
from tasks.evaluate.parts import head_metrics, part_of

_SHOWN_FAILURES = 20


def run_pipeline(
    description: Description,
    console: Console,
    *,
    only: str = "",
    wanted: Mapping[str, Any] | None = None,
    verbose: bool = False,
    always_flow: bool = False,
) -> None:
    """Plan the run; start the flow unless the planner finds nothing to do; show the outcome.

    `only`: a part of the sources (see `flows.selection.select`). `wanted`: the pipeline's own parameters (`from_stage`,
    `only_failed`, `force`), where they are not its defaults. Raises ValueError or RootError (bad input) before
    anything runs, StageFailed where a stage fell below its floor.
    """
    started = time.monotonic()
    root, version, given = open_description(description)
    given = select(given, only, description.config.execution.batch_units)
    plans = plan_run(version, given, resolve(root, description.dataset, description.config, record=False))
    asked = {name: value for name, value in (wanted or {}).items() if value not in (False, STAGES[0])}
    if is_done(plans) and not always_flow and not asked:
        _show_cached(plans, console)
        for plan in plans:
            judge(plan.stage, len(plan.cached), (plan.failures or {}).values(), description.config)
    else:
        from flows.forms import flatten
        from flows.pipeline import pipeline

        parameters = {"sources": description.sources, "only": only, **asked, **flatten(description.config)}
        _show_summaries(_run_flow(pipeline, description, parameters, verbose), console)
    version = latest_version(root, description.dataset)
    _show_failures(version, console)
    _show_scores(root, version, console)
    _show_report(root, version, console, time.monotonic() - started)


def run_refresh(
    description: Description, console: Console, *, only: str = "", retrain_share: float = 0.1, verbose: bool = False
) -> None:
    """Run the refresh flow: the sources are read again, and the night is recorded and judged."""
    from flows.forms import flatten
    from flows.nights import show_nights
    from flows.refresh import refresh

    started = time.monotonic()
    root, _, _ = open_description(description)
    parameters = {
        "sources": description.sources,
        "only": only,
        "refresh_retrain_share": retrain_share,
        **flatten(description.config),
    }
    summaries = _run_flow(refresh, description, parameters, verbose)
    _show_summaries([summary for summary in summaries if "seconds" in summary], console)
    version = latest_version(root, description.dataset)
    _show_failures(version, console)
    show_nights(description.root, description.dataset, console, limit=7)
    _show_report(root, version, console, time.monotonic() - started)


def run_one(
    stage: str,
    description: Description,
    console: Console,
    *,
    only: str = "",
    only_failed: bool = False,
    force: bool = False,
    verbose: bool = False,
) -> None:
    """Run one stage's flow: what is committed upstream and missing here."""
    import importlib

    from flows.forms import flatten

    started = time.monotonic()
    root, _, _ = open_description(description)
    flow = getattr(importlib.import_module(f"flows.{stage}"), stage)
    flat = flatten(description.config)
    parameters = {name: value for name, value in flat.items() if name in flow.parameters.properties} | {"force": force}
    if stage == "download":
        parameters["sources"] = description.sources
    if stage in ("download", "track"):
        parameters |= {"only": only, "only_failed": only_failed}
    elif only or only_failed:
        raise ValueError(f"only: download and track can take a part of the sources; {stage} stands on all of them")
    _show_summaries([_run_flow(flow, description, parameters, verbose)], console)
    version = latest_version(root, description.dataset)
    _show_failures(version, console)
    if stage == "evaluate":
        _show_scores(root, version, console)
        _show_report(root, version, console, time.monotonic() - started)


def run_ablation(
    description: Description, console: Console, *, axes: Sequence[str], seeds: int, verbose: bool = False
) -> None:
    """Run the ablate flow and print its comparison. Raises ValueError for an unknown axis, before anything runs."""
    from flows.ablate import ablate
    from flows.ablations import choose_axes
    from flows.comparing import show_comparison
    from flows.forms import flatten

    choose_axes(axes)
    root, _, _ = open_description(description)
    parameters = {"sources": description.sources, "ablate_axes": list(axes), "ablate_seeds": seeds}
    _run_flow(ablate, description, parameters | flatten(description.config), verbose)
    show_comparison(root, latest_version(root, description.dataset), "ablations", console)


def run_comparison(
    description: Description,
    console: Console,
    *,
    networks: Sequence[str],
    devkits: Sequence[Path],
    verbose: bool = False,
) -> None:
    """Run the compare flow and print its table. Raises ValueError for an unknown network, before anything runs."""
    from flows.compare import COMPARED, compare
    from flows.comparing import show_comparison
    from flows.forms import flatten
    from flows.networks import read_networks

    root = open_root(description.root)
    read_networks(root, networks)
    folders = [str(devkit.expanduser().absolute()) for devkit in devkits]
    flat = {name: value for name, value in flatten(description.config).items() if name in compare.parameters.properties}
    kept = replace(description, dataset=COMPARED if description.dataset == "default" else description.dataset)
    parameters = {"compare_networks": list(networks), "compare_devkits": folders, **flat}
    _run_flow(compare, kept, parameters, verbose)
    show_comparison(root, latest_version(root, kept.dataset), "comparison", console)


def show_status(description: Description, console: Console) -> None:
    """Print the newest version's counts, what a run would do, the failures and the report's place."""
    root, version, given = open_description(description, create=False)
    console.print(f"[bold]{description.dataset}[/] version {version.number} {version.created}, in {root.url}")
    counts = counts_of(version)
    waiting = f", {counts['pending']} of them not tried yet" if counts["pending"] else ""
    lists = f", {counts['lists']} lists" if counts["lists"] else ""
    console.print(
        f"{counts['sources']} sources{waiting}{lists}, {counts['videos']} videos, {counts['tracks']} tracks, "
        f"{counts['pairs']} pairs in {counts['shards']} shards"
    )
    config = resolve(root, description.dataset, description.config, record=False)
    _show_cached(plan_run(version, given, config), console)
    _show_failures(version, console)
    _show_scores(root, version, console)
    _show_report(root, version, console, None)


def _run_flow(flow: Any, description: Description, parameters: dict[str, Any], verbose: bool) -> Any:
    from prefect.settings import PREFECT_API_URL

    from flows.display import terminal_display

    refuse_secret("only", parameters.get("only", ""))
    with terminal_display(verbose), ExitStack() as server:
        if not PREFECT_API_URL.value():
            from flows.server import ephemeral_server  # 2 s to import, and a configured server does without

            server.enter_context(ephemeral_server())
        return flow(root=description.root, dataset=description.dataset, **parameters)


def _show_cached(plans: Sequence[StagePlan], console: Console) -> None:
    table = Table("stage", "cached", "to run", "failed for good", title="Plan", title_justify="left")
    for plan in plans:
        table.add_row(plan.stage, str(len(plan.cached)), str(len(plan.units)), str(len(plan.failures or {})))
    console.print(table)
    if is_done(plans):
        console.print("Nothing to do: every unit is cached.")


def _show_summaries(summaries: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("stage", "committed", "cached", "failed", "seconds", "counts", title="Run", title_justify="left")
    for summary in summaries:
        counts = ", ".join(f"{name} {number:,}" for name, number in sorted(summary["counts"].items()) if number)
        cells = (str(summary[name]) for name in ("stage", "committed", "cached", "failed", "seconds"))
        table.add_row(*cells, counts or ("" if summary["pending"] else summary["note"]))
    console.print(table)
    for summary in summaries:
        if summary["pending"]:
            console.print(f"[yellow]{summary['stage']}: {escape(summary['note'])}[/]")


def _show_failures(version: Version, console: Console) -> None:
    failures = all_failures(version)
    if not failures:
        return
    reasons = Counter((failure.stage, failure.kind, failure.reason) for failure in failures.values())
    table = Table("stage", "class", "reason", "items", title="Dropped, by reason", title_justify="left")
    for (stage, kind, reason), number in sorted(reasons.items()):
        table.add_row(stage, kind, reason, str(number))
    console.print(table)
    item = Column("item", overflow="fold", ratio=2)
    words = Column("the tool's own words", overflow="fold", ratio=3)
    items = Table(item, "class", "reason", "attempts", words, title="Dropped items", title_justify="left")
    for name, failure in sorted(failures.items())[:_SHOWN_FAILURES]:
        items.add_row(escape(name), failure.kind, failure.reason, str(failure.attempts), escape(failure.words[:200]))
    console.print(items)
    if len(failures) > _SHOWN_FAILURES:
        console.print(f"... and {len(failures) - _SHOWN_FAILURES} more, in the report")


def _show_scores(root: Root, version: Version, console: Console) -> None:
    """A row a metric: each kind of features, and the paired difference, with 95 % intervals; without those that are of
    one class or layer, which the report has."""
    rows = scores_of(root, version)
    heads = head_metrics((row["benchmark"], row["metric"]) for row in rows)
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if part_of(row["metric"], heads[row["benchmark"]]) is None:
            named = cells.setdefault((row["benchmark"], row["metric"]), {})
            named[row["features"]] = _score(row)
    if not cells:
        return
    columns = ("trained", "untrained", "hog", "trained - untrained")
    table = Table("benchmark", "metric", *columns, title="Scores, with 95 % intervals", title_justify="left")
    for name, named in cells.items():
        table.add_row(*name, *(named.get(column, "") for column in columns))
    console.print(table)


def _score(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "not measured"
    sign = "+" if " - " in row["features"] else ""
    interval = "" if row["low"] is None else f"\n{row['low']:{sign}.3f} to {row['high']:{sign}.3f}"
    return f"{row['value']:{sign}.3f}{interval}"


def _show_report(root: Root, version: Version, console: Console, seconds: float | None) -> None:
    place = report_place(root, version)
    if place:
        told = f" after {seconds:.0f} s" if seconds is not None else ""
        console.print(f"Report{told}: {place}", soft_wrap=True)
