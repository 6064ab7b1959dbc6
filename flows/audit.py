"""The audit from a terminal: the configured tracker on the generated world, once for each configuration."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from flows.benchmarks import audit_unit
from flows.description import Description
from flows.maintain import dump, progress_bar
from flows.resolve import resolve
from storage.leases import Lease
from storage.root import Root, open_root
from tasks.batch import Outcome, Unit, run_unit
from tasks.noise import CauseNoise, ErrorQuantiles, TrackerNoise, noise_from_json
from tasks.presets import RunConfig

_MEASURES = {
    "centre_error_px": "centre error, px",
    "centre_error_share": "centre error, of the side",
    "scale_error": "scale error, log",
    "iou": "IoU",
}


def run_audit(description: Description, console: Console, *, num_videos: int | None = None, as_json: bool) -> None:
    """Audit the configured tracker, or find its audit committed, and print what came out.

    `num_videos`: instead of `evaluate.audit_videos`. Raises ValueError where that is 0, RootError for a root that
    cannot be opened.
    """
    config = _with_videos(description.config, num_videos)
    root = open_root(description.root)
    unit = audit_unit(resolve(root, description.dataset, config, record=False))
    started = time.monotonic()
    outcome = _run(root, description, unit)
    noise = noise_from_json(outcome.facts["noise"])
    if as_json:
        dump({"key": outcome.accepted or outcome.key, "cached": outcome.cached, **noise.to_json()})
        return
    _show(noise, console)
    how = "found committed" if outcome.cached else f"{time.monotonic() - started:.0f} s"
    console.print(f"{noise.estimator} on {noise.videos} generated videos, {how}; audit/{unit.key[:16]} in {root.url}")


def _with_videos(config: RunConfig, num_videos: int | None) -> RunConfig:
    if num_videos is None and not config.evaluate.audit_videos:
        raise ValueError("evaluate.audit_videos: 0 means no audit; set it to 1 or more, or give --videos")
    evaluate = config.evaluate.model_copy(update={"audit_videos": num_videos or config.evaluate.audit_videos})
    return config.model_copy(update={"evaluate": evaluate})


def _run(root: Root, description: Description, unit: Unit) -> Outcome:
    facts = {"stage": "audit", "dataset": description.dataset}
    with Lease(root, "run", facts) as lease, progress_bar("auditing") as progress:
        lease.protect([unit.key])
        return run_unit(root, unit, device=description.config.execution.device, progress=progress)


def _show(noise: TrackerNoise, console: Console) -> None:
    if not noise.accepted:
        console.print(f"No track was accepted of {noise.windows} windows.")
        return
    assert noise.wrong_share is not None, "known where a track was accepted"
    interval = ""
    if noise.low is not None and noise.high is not None:
        interval = f" (95 % interval by video {1 - noise.high:.1%} to {1 - noise.low:.1%})"
    console.print(f"[bold]{1 - noise.wrong_share:.1%}[/] of {noise.accepted} accepted tracks are right{interval}")
    console.print(
        f"Accepted {_share(noise.accepted, noise.windows)} of {noise.windows} windows, "
        f"right and accepted {_share(noise.right, noise.windows)}"
    )
    if noise.possible:
        found = _share(noise.found, noise.possible)
        console.print(f"Of {noise.possible} windows that could be followed to their end, {found} gave a right pair")
    console.print(_causes(noise.causes))
    console.print(_quantiles(noise.quantiles))


def _causes(rows: tuple[CauseNoise, ...]) -> Table:
    table = Table("accepted tracks", "number", "share", "centre error, px", "of the side", "scale error", "IoU")
    for row in rows:
        name = row.cause if row.cause == "right" else f"wrong: {row.cause.replace('_', ' ')}"
        errors = [
            _number(row.centre_error_px, "{:.1f}"),
            _number(row.centre_error_share, "{:.1%}"),
            _number(row.scale_factor, "x {:.2f}"),
            _number(row.iou, "{:.2f}"),
        ]
        table.add_row(name, str(row.tracks), f"{row.share:.1%}", *errors)
    table.caption = "medians, against the box that the object carried along"
    return table


def _quantiles(rows: tuple[ErrorQuantiles, ...]) -> Table:
    table = Table("accepted tracks on an object", "median", "worst tenth", "worst twentieth")
    for row in rows:
        values = (row.median, row.worst_tenth, row.worst_twentieth)
        table.add_row(_MEASURES[row.measure], *(f"{value:.2f}" for value in values))
    return table


def _number(value: float | None, shape: str) -> str:
    return "–" if value is None else shape.format(value)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
