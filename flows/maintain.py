"""Commands that look after a root: explain, accept, datasets, log, purge, fsck, gc. Each prints, or dumps JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from flows.accept import accept_stage
from flows.description import Description
from flows.explain import StageExplanation, explain_run
from flows.plan import plan_download
from flows.resolve import resolve
from flows.sources import open_description
from storage.findings import Report
from storage.leases import Lease
from storage.root import Root, RootError, open_root
from storage.versions import Head, dataset_names, latest_version, read_head, version_numbers
from tasks.download.preflight import preflight
from tasks.download.sources import source_at

_SHOWN = 50
_COUNTS = ("sources", "lists", "pending", "removed", "failed", "videos", "bytes", "tracks", "shards", "pairs")


def show_explanation(description: Description, console: Console, *, as_json: bool) -> None:
    """What a run would do, stage by stage, and why."""
    root, version, given = open_description(description, create=False)
    config = resolve(root, version.name, description.config, record=False)
    told = explain_run(root, version, given, config)
    if as_json:
        stages = [stage.to_json() for stage in told]
        dump({"dataset": version.name, "version": version.number, "stages": stages})
        return
    console.print(f"[bold]{version.name}[/] version {version.number}, in {root.url}")
    table = Table("stage", "to run", "cached", "failed for good", Column("why", overflow="fold"))
    for stage in told:
        number = f"{stage.to_run}" + (" expected" if stage.expected and stage.to_run else "")
        table.add_row(stage.stage, number, str(stage.cached), str(stage.failed), escape(_reasons(stage)))
    console.print(table)
    if not any(stage.reasons for stage in told) and told[0].cached + told[0].failed:
        console.print("Nothing to do: every unit is cached.")


def _reasons(stage: StageExplanation) -> str:
    lines = [f"{reason.number} x {reason.text} ({reason.example[:60]})" for reason in stage.reasons]
    return "\n".join([*lines, *([stage.note] if stage.note else [])])


def accept(description: Description, stage: str, console: Console, *, as_json: bool) -> bool:
    """Bless a stage's committed units for the present code; returns whether none was refused."""
    root = open_root(description.root, create=False)
    with Lease(root, "run", {"stage": f"accept {stage}", "dataset": description.dataset}) as lease:
        lease.wait_for_collectors()
        version = latest_version(root, description.dataset)
        config = resolve(root, version.name, description.config, record=False)
        done = accept_stage(root, version, config, stage)
    if as_json:
        dump(asdict(done))
        return not done.refused
    for differences, number in done.accepted.items():
        console.print(f"accepted {number} {stage} units: {escape(differences)}")
    for why, number in done.refused.items():
        console.print(f"[yellow]not accepted[/] {number} {stage} units: {escape(why)}")
    if not done.accepted and not done.refused:
        console.print(f"Nothing to accept: the {stage} units are those of the present code.")
    elif done.accepted:
        console.print(f"{version.name} is now version {done.version}; stages after {stage} go on as before.")
    return not done.refused


def show_preflight(description: Description, console: Console, *, as_json: bool) -> bool:
    """What this machine lacks to fetch the sources that are still to be fetched; whether nothing of it blocks."""
    root, version, given = open_description(description, create=False)
    plan = plan_download(version, given, description.config)
    findings = preflight(description.config.download, [unit.item for unit in plan.units])
    if as_json:
        dump([asdict(finding) for finding in findings])
    for finding in [] if as_json else findings:
        colour = "red" if finding.severity == "blocks" else "yellow"
        console.print(f"[{colour}]{finding.severity}[/] {escape(finding.text)}")
    if not findings and not as_json:
        console.print(f"Nothing is missing for the {len(plan.units)} sources that are to be fetched into {root.url}.")
    return all(finding.severity != "blocks" for finding in findings)


def show_datasets(url: str, console: Console, *, as_json: bool) -> None:
    """A row a data set: its newest version and what it holds."""
    root = open_root(url, create=False)
    heads = [read_head(root, name, version_numbers(root, name)[-1]) for name in _named(root)]
    if as_json:
        dump([_summary(head) for head in heads])
        return
    table = Table(
        "data set", "version", "made (UTC)", Column("holds", overflow="fold"), Column("trained", overflow="fold")
    )
    for head in heads:
        trained = head.units["train"].key[:16] if "train" in head.units else ""
        holds = ", ".join(f"{number:,} {name}" for name in _COUNTS if (number := head.counts.get(name, 0)))
        table.add_row(head.name, str(head.number), _minute(head.created), holds, trained)
    console.print(table if heads else f"{root.url} holds no data set yet")


def unknown_dataset(root: Root, name: str) -> RootError:
    """The error for a data set without a version, naming those that there are."""
    return RootError(f"dataset: {name!r} is not in {root.url}; there are: {', '.join(_named(root)) or 'none'}")


def _named(root: Root) -> list[str]:
    return [name for name in dataset_names(root) if version_numbers(root, name)]


def show_log(url: str, name: str, console: Console, *, limit: int, as_json: bool) -> None:
    """A row a version, the newest first: what made it, and what it changed."""
    root = open_root(url, create=False)
    numbers = version_numbers(root, name)
    if not numbers:
        raise unknown_dataset(root, name)
    shown = numbers[-limit:]
    heads = [read_head(root, name, number) for number in shown]
    before = [read_head(root, name, numbers[-limit - 1])] if len(numbers) > limit else []
    if as_json:
        dump([_summary(head) for head in heads])
        return
    table = Table("version", "made (UTC)", Column("by", overflow="fold"), Column("what changed", overflow="fold"))
    previous: list[Head | None] = [*before, *heads[:-1]] if before else [None, *heads[:-1]]
    for head, old in reversed(list(zip(heads, previous, strict=True))):
        table.add_row(str(head.number), _minute(head.created), escape(head.note), "; ".join(_changes(old, head)))
    console.print(table)


def _changes(old: Head | None, head: Head) -> Iterable[str]:
    for name in _COUNTS:
        before, after = old.counts.get(name, 0) if old else 0, head.counts.get(name, 0)
        if before != after:
            yield f"{name} {before:,} → {after:,}"
    for name, unit in head.units.items():
        if old is None or old.units.get(name) != unit:
            yield f"{name} {unit.key[:16]}"


def _summary(head: Head) -> dict[str, Any]:
    record = asdict(head)
    return {name: record[name] for name in ("name", "number", "created", "note", "counts", "units")}


def run_purge(url: str, text: str, console: Console, *, assume_yes: bool, as_json: bool) -> None:
    """Take a video out of everything, after asking."""
    import typer

    from storage.purge import find_video, purge

    root = open_root(url, create=False)
    video = find_video(root, text, source_at(text).id)
    asked = f"Remove video {video} and everything made from it from {root.url}, for good?"
    if not assume_yes and not typer.confirm(asked, err=True):
        raise typer.Abort
    done = purge(root, video)
    if as_json:
        dump(asdict(done))
        return
    versions = ", ".join(f"{name} version {number}" for name, number in done.datasets.items()) or "no new version"
    console.print(
        f"Purged {video}: {done.units} units, {done.files} files, {size_in_words(done.freed_bytes)}; {versions}."
    )
    if done.trained:
        keys = ", ".join(key[:16] for key in done.trained)
        console.print(f"Trained on it, and left as they are: {keys}. The next run trains without it.")


def _minute(time: str) -> str:
    """An ISO time to the minute, as UTC."""
    return time[:16].replace("T", " ")


def run_fsck(url: str, console: Console, *, quick: bool, repairing: bool, as_json: bool) -> bool:
    """Check a root and, where asked, repair it; returns whether it is sound (now)."""
    from storage.fsck import check
    from storage.repair import repair

    root = open_root(url, create=False)
    with progress_bar("checking") as progress:
        report = check(root, quick=quick, progress=progress)
    actions = repair(root, report) if repairing and report.broken else []
    if as_json:
        dump({**asdict(report), "actions": [asdict(action) for action in actions]})
    else:
        _show_findings(report, console)
        for action in actions:
            console.print(f"{action.kind.replace('_', ' ')} {action.path}: {escape(action.words)}", soft_wrap=True)
        if report.broken and not repairing:
            console.print("Mend it with `tritrack fsck --repair`; the next run makes just what was dropped again.")
    return not report.broken or (repairing and not any(action.kind in ("left", "advice") for action in actions))


def _show_findings(report: Report, console: Console) -> None:
    how = "sizes" if report.quick else "every byte"
    console.print(
        f"{report.root}: {report.versions} versions, {report.units} units, {report.files} files, "
        f"{size_in_words(report.bytes)}; {how} checked",
        soft_wrap=True,
    )
    if not report.findings:
        console.print("Nothing is broken.")
        return
    folding = [Column(name, overflow="fold") for name in ("file", "what is the matter")]
    table = Table("found", *folding, Column("data sets", overflow="fold"))
    for finding in report.findings[:_SHOWN]:
        kind = f"[red]{finding.kind}[/]" if finding.is_broken else finding.kind
        table.add_row(kind, finding.path, escape(finding.words), ", ".join(finding.datasets))
    console.print(table)
    if len(report.findings) > _SHOWN:
        console.print(f"... and {len(report.findings) - _SHOWN} more; --json lists all")
    console.print(", ".join(f"{number} {kind}" for kind, number in report.counts.items()))


def run_gc(
    url: str, console: Console, *, delete: bool, grace_seconds: float, keep_versions: int | None, as_json: bool
) -> None:
    """Find what nothing reaches; delete it where asked."""
    from storage.gc import collect

    root = open_root(url, create=False)
    with progress_bar("collecting") as progress:
        done = collect(root, grace_seconds=grace_seconds, keep_versions=keep_versions, delete=delete, progress=progress)
    if as_json:
        dump({**asdict(done), "counts": done.counts, "bytes": done.bytes})
        return
    for holder in done.live:
        console.print(f"[yellow]live[/] {holder}: what it may use is kept", soft_wrap=True)
    if done.garbage:
        table = Table("garbage", "files", "size", Column("for example", overflow="fold"))
        for kind, number in done.counts.items():
            example = next(item.path for item in done.garbage if item.kind == kind)
            table.add_row(kind, str(number), size_in_words(done.bytes[kind]), example)
        console.print(table)
    verb = "Deleted" if done.deleted else "Would delete"
    total = size_in_words(sum(item.size for item in done.garbage))
    kept = f"; {done.kept_young} younger files kept" if done.kept_young else ""
    console.print(f"{verb} {len(done.garbage)} files, {total}{kept}.")
    if done.garbage and not done.deleted:
        console.print("Nothing was deleted; do it with --delete.")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on the terminal's error stream, so that JSON stays clean."""
    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task(what, total=None)

        def report(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total or None, description=note[-60:] or what)

        yield report


def size_in_words(number: float) -> str:
    """Bytes for a reader: 1.2 MB."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def dump(value: Mapping[str, Any] | Sequence[Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")
