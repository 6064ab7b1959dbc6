"""What is taken away or changed, one axis at a time: the grid of the ablate flow. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE = "base"

Changes = Mapping[str, Any]
"""Form fields (`<section>_<field>`) and the values that they take in one cell."""


@dataclass(frozen=True)
class Cell:
    """One point of an axis; `changes` beside the run's configuration, none for the run as it is."""

    label: str
    changes: Changes = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """`words` say what is asked; its cells are compared with the run as it is, the cell `BASE`."""

    words: str
    cells: tuple[Cell, ...]


_NO_GATES: Changes = {
    "track_min_confidence": 0.0,
    "track_fb_threshold_px": 0.0,
    "track_min_agreement": 0.0,
    "track_min_ncc": -1.0,
}
_RANKING: Changes = {"train_objective": "ranking"}
_OBJECTIVES = ("ranking", "infonce", "slowness", "context", "autoencoder")
_NEVER = 1_000_000_000  # steps: negatives stay random

AXES: Mapping[str, Axis] = {
    "gap": Axis(
        "How many frames lie between anchor and positive?",
        tuple(
            Cell(f"{frames} frames", {"track_gap_frames": frames, "track_gap_seconds": 0.0})
            for frames in (5, 15, 30, 60)
        ),
    ),
    "tracking": Axis(
        "What does the tracker add to the same place some frames later?",
        (
            Cell("no gates", _NO_GATES),
            Cell("same place", {"track_estimator": "still", **_NO_GATES}),
        ),
    ),
    "noise": Axis(
        "What do a tracker's errors cost?",
        tuple(Cell(f"{share:.0%} wrong pairs", {"train_wrong_pairs": share}) for share in (0.1, 0.2, 0.4)),
    ),
    "margin": Axis(
        "Which margin of the ranking hinge?",
        tuple(Cell(f"ranking, margin {margin}", {**_RANKING, "train_margin": margin}) for margin in (0.1, 0.5, 1.0)),
    ),
    "hardness": Axis(
        "Are hard negatives better than random ones?",
        (
            Cell("ranking, random negatives", {**_RANKING, "train_hard_after_step": _NEVER}),
            Cell("ranking, hard after a quarter", {**_RANKING, "train_mining": "hard"}),
            Cell("ranking, semi-hard after a quarter", {**_RANKING, "train_mining": "semi_hard"}),
        ),
    ),
    "negatives": Axis(
        "Negatives of other videos, or of the same one too?",
        (
            Cell("other videos", {"train_negatives": "other_videos"}),
            Cell("and far away in the same", {"train_negatives": "far_away"}),
        ),
    ),
    "objective": Axis(
        "Which loss?",
        tuple(
            Cell(name, {"train_objective": name})
            for name in ("ranking", "infonce", "slowness", "context", "autoencoder")
        ),
    ),
}


def choose_axes(names: Sequence[str]) -> dict[str, Axis]:
    """The axes of these names; raises ValueError, naming the choices, for another one."""
    if unknown := [name for name in names if name not in AXES]:
        raise ValueError(f"axes: {unknown[0]!r} is unknown; choose among {', '.join(AXES)}")
    return {name: AXES[name] for name in names}


def fields_of(cell: Cell, fields: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The form fields of a cell's run; without an audit of the tracker, and with hard negatives after a quarter."""
    changes = dict(cell.changes)
    if "train_mining" in changes:
        changes["train_hard_after_step"] = fields["train_steps"] // 4
    return {**fields, "evaluate_audit_videos": 0, **changes, "seed": fields["seed"] + seed}


def cells_of(axes: Mapping[str, Axis]) -> Iterator[tuple[str, str, Cell]]:
    """(axis, name for a data set, cell) of every run that the axes need, the base first."""
    yield "", BASE, Cell(BASE)
    for name, axis in axes.items():
        for number, cell in enumerate(axis.cells):
            yield name, f"{name}{number}", cell
