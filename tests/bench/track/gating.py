"""What the gates keep: precision and yield of the default configuration, its curve, and the fit of its confidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.track.config import TrackConfig
from tasks.track.cuts import is_cut
from tasks.track.gates import is_faint, step_reason, track_reason
from tests.bench.track.accuracy import Result, interval, percents

REAL_WEIGHT = 5.0  # of a real seed against one of the generated world, in the fit
_FOLDS = 6
_STRENGTH = 10.0  # inverse of the regularisation: the few coefficients are hardly held back
_LEVELS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9)


def rejection(result: Result, config: TrackConfig) -> str:
    """Why the miner would have rejected this track, or "": its gates, in its order."""
    faint = 0
    for step, looks in zip(result.followed.steps, result.followed.looks, strict=True):
        if is_cut(*looks, config.cut_threshold):
            return "crossed_cut"
        faint = faint + 1 if is_faint(step, config) else 0
        if reason := step_reason(step, result.frame_shape, faint, config):
            return reason
    return track_reason(result.followed.evidence, config)


def print_gates(console: Console, sets: Mapping[str, Sequence[Result]], config: TrackConfig) -> None:
    """Accepted share and precision of each set of results, and why the others were rejected."""
    table = Table(title="Default gates")
    for heading in (
        "set",
        "seeds",
        "right ungated",
        "accepted",
        "precision",
        "rejected: of them right, by reason",
        "wrong",
    ):
        table.add_column(heading, justify="left" if heading.startswith(("set", "rej", "wrong")) else "right")
    for name, results in sets.items():
        reasons = [rejection(result, config) for result in results]
        kept = [result for result, reason in zip(results, reasons, strict=True) if not reason]
        table.add_row(
            name,
            str(len(results)),
            percents(interval(results, lambda verdict: verdict.right)),
            f"{len(kept)}: {100 * len(kept) / len(results):.1f} %",
            percents(interval(kept, lambda verdict: verdict.right)) if kept else "-",
            _by_reason(results, reasons),
            _causes(kept),
        )
    console.print(table)
    console.print(
        "precision: of the accepted, with 95 % bootstrap intervals by video or sequence. 12/30: 12 of 30 that were "
        "rejected were right. wrong: what went wrong with the accepted ones that are."
    )


def print_curve(console: Console, sets: Mapping[str, Sequence[Result]], config: TrackConfig) -> None:
    """Precision and yield at some values of min_confidence, all other gates on."""
    table = Table(title="accepted % at precision %, by min_confidence (all other gates on)")
    table.add_column("set")
    for level in _LEVELS:
        table.add_column(f"{level:g}", justify="right")
    for name, results in sets.items():
        accepted, precision, levels = curve(results, config)
        cells = []
        for level in _LEVELS:
            num = int((levels >= level).sum())
            cells.append(f"{100 * accepted[num - 1]:.1f} at {100 * precision[num - 1]:.1f}" if num else "-")
        table.add_row(name, *cells)
    console.print(table)


def curve(results: Sequence[Result], config: TrackConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accepted share, precision and least confidence (N,) of the 1 to N surest tracks that pass the other gates."""
    open_config = config.model_copy(update={"min_confidence": 0.0})
    passed = [result for result in results if not rejection(result, open_config)]
    confidence = np.array([result.followed.evidence.confidence for result in passed])
    order = np.argsort(-confidence, kind="stable")
    right = np.array([result.verdict.right for result in passed], float)[order]
    numbers = np.arange(1, len(passed) + 1)
    return numbers / len(results), np.cumsum(right) / numbers, confidence[order]


def draw_curves(path: Path, sets: Mapping[str, Sequence[Result]], config: TrackConfig) -> None:
    """The curves as a picture; a dot marks the default min_confidence, a cross what is to be reached."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for place, (name, results) in enumerate(sets.items()):
        accepted, precision, levels = curve(results, config)
        axes.plot(accepted, precision, color=f"C{place}", label=f"{name} ({len(results)} seeds)")
        if num := int((levels >= config.min_confidence).sum()):
            axes.plot(accepted[num - 1], precision[num - 1], "o", color=f"C{place}")
    axes.plot([0.5], [0.95], "x", color="black", label="to reach, generated world")
    axes.plot([0.5], [0.90], "+", color="black", label="to reach, real")
    axes.set(xlabel="accepted share of all seeds", ylabel="right share of the accepted", xlim=(0, 1), ylim=(0.6, 1.005))
    axes.set_title(f"min_confidence from 1 to 0, all other gates on; dot: {config.min_confidence:g}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def print_fit(console: Console, world: Sequence[Result], real: Sequence[Result]) -> None:
    """Coefficients for tasks/track/evidence.py, and what the fit gives on videos that it has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    results = [*world, *real]
    features = np.array([result.followed.evidence.features for result in results])
    right = np.array([result.verdict.right for result in results])
    groups = np.unique([result.sequence for result in results], return_inverse=True)[1]
    is_real = np.arange(len(results)) >= len(world)
    weight = np.where(is_real, REAL_WEIGHT, 1.0)
    held_out = np.zeros(len(results))
    for fitted, left in GroupKFold(min(_FOLDS, len(np.unique(groups)))).split(features, right, groups):
        model = LogisticRegression(C=_STRENGTH).fit(features[fitted], right[fitted], sample_weight=weight[fitted])
        held_out[left] = model.predict_proba(features[left])[:, 1]
    model = LogisticRegression(C=_STRENGTH).fit(features, right, sample_weight=weight)
    coefficients = [*model.intercept_, *model.coef_[0]]
    console.print(f"_COEFFICIENTS = ({', '.join(f'{value:.2f}' for value in coefficients)})")
    table = Table(title=f"The fit on videos that it has not seen ({_FOLDS} folds by video), no other gate")
    for heading in ("least confidence", "world accepted", "precision", "real accepted", "precision"):
        table.add_column(heading, justify="right")
    for level in _LEVELS:
        kept = held_out >= level
        cells = [
            f"{100 * values.mean():.1f}" if len(values) else "-"
            for of in (~is_real, is_real)
            for values in (kept[of], right[kept & of])
        ]
        table.add_row(f"{level:g}", *cells)
    console.print(table)


def _by_reason(results: Sequence[Result], reasons: Sequence[str]) -> str:
    rejected, right = Counter[str](), Counter[str]()
    for result, reason in zip(results, reasons, strict=True):
        rejected[reason] += 1
        right[reason] += result.verdict.right
    return ", ".join(f"{reason} {right[reason]}/{num}" for reason, num in rejected.most_common() if reason)


def _causes(kept: Sequence[Result]) -> str:
    causes = Counter(result.verdict.cause or "unknown" for result in kept if not result.verdict.right)
    return ", ".join(f"{cause} {num}" for cause, num in causes.most_common()) or "none"
