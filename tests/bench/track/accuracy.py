"""How right trackers are without gates: every seed followed over the gap, and judged."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.bootstrap import Interval, cluster_interval
from tests.bench.track.seeds import CROSSING, GAP, WORKING_HEIGHT_PX, Footage, Verdict
from tests.bench.track.trackers import Followed, Tracker, follow_seeds

_SAMPLES = 10_000  # of the bootstrap
_SPARSE_EVERY = 20  # frames: box trackers follow only these seeds of a generated world
_ALONE = 3  # seeds of a sequence that are followed alone, for the time


@dataclass(frozen=True)
class Result:
    """A seed that was followed: in which sequence, how, and how it ended."""

    sequence: str
    frame_shape: tuple[int, int]  # height and width, working px
    followed: Followed
    verdict: Verdict


@dataclass
class Row:
    """What a tracker did over a set of sequences; times are CPU ms a frame and box."""

    tracker: Tracker
    results: list[Result] = field(default_factory=list)
    lockstep_ms: float = 0.0
    alone_ms: list[float] = field(default_factory=list)
    _seconds: float = 0.0
    _steps: int = 0

    def add(self, sequence: Footage, is_sparse: bool) -> None:
        """Follow the sequence's seeds."""
        seeds = [seed for seed in sequence.seeds if not is_sparse or seed.start % _SPARSE_EVERY == 0]
        if not seeds:
            return
        followed, seconds, steps = follow_seeds(sequence.frames, seeds, self.tracker)
        shape = sequence.frames[0].grey.shape
        for seed, one in zip(seeds, followed, strict=True):
            self.results.append(Result(sequence.name, (shape[0], shape[1]), one, sequence.judge(seed, one.boxes)))
        self._seconds, self._steps = self._seconds + seconds, self._steps + steps
        self.lockstep_ms = 1000 * self._seconds / self._steps
        if self.tracker.is_box_tracker:
            self.alone_ms.append(1000 * seconds / steps)
            return
        for seed in seeds[:: max(1, len(seeds) // _ALONE)][:_ALONE]:
            _, seconds, steps = follow_seeds(sequence.frames, [seed], self.tracker)
            self.alone_ms.append(1000 * seconds / steps)


def measure(
    sequences: Callable[[int, bool], Iterable[Footage]],
    trackers: Sequence[Tracker],
    is_world: bool,
    progress: Callable[[str], None] = lambda words: None,
) -> list[Row]:
    """A row a tracker; `sequences` gives those of a height (px), in colour or not.

    Worlds are drawn at working size: what works at full size has no row there.
    """
    rows = [Row(tracker) for tracker in trackers if not is_world or tracker.height_px == WORKING_HEIGHT_PX]
    for height in sorted({row.tracker.height_px for row in rows}):
        at_height = [row for row in rows if row.tracker.height_px == height]
        for sequence in sequences(height, any(row.tracker.make_follower().needs_colour for row in at_height)):
            for row in at_height:
                progress(f"{sequence.name}: {row.tracker.name}")
                row.add(sequence, is_world and row.tracker.is_box_tracker)
    return rows


def interval(results: Sequence[Result], value: Callable[[Verdict], float]) -> Interval:
    """The mean over seeds with its interval by sequence."""
    names = [result.sequence for result in results]
    clusters = np.unique(names, return_inverse=True)[1]
    return cluster_interval(np.array([value(one.verdict) for one in results], float), clusters, _SAMPLES, seed=0)


def percents(of: Interval) -> str:
    """A share and its interval, in percent."""
    if of.low is None or of.high is None:
        return f"{100 * of.value:.1f}"
    return f"{100 * of.value:.1f} [{100 * of.low:.0f}, {100 * of.high:.0f}]"


def print_real(console: Console, rows: Sequence[Row], true_on_mask: Sequence[bool]) -> None:
    """The table of the real sequences; `true_on_mask` as from `true_ends`."""
    table = Table(title=f"Real sequences: true boxes followed over {GAP} frames, no gates")
    headings = (
        "tracker",
        "px",
        "seeds",
        "IoU, DAVIS",
        "IoU, all",
        "centre in box",
        "on mask",
        "right",
        "alone",
        "lock-step",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "tracker" else "right")
    for row in rows:
        davis = [result for result in row.results if result.sequence != CROSSING]
        masked = [result for result in row.results if result.verdict.on_mask is not None]
        table.add_row(
            row.tracker.name,
            str(row.tracker.height_px),
            str(len(row.results)),
            _figures(interval(davis, lambda verdict: verdict.iou)),
            _figures(interval(row.results, lambda verdict: verdict.iou)),
            percents(interval(row.results, lambda verdict: verdict.centred)),
            percents(interval(masked, lambda verdict: bool(verdict.on_mask))),
            percents(interval(row.results, lambda verdict: verdict.right)),
            *_times(row),
        )
    console.print(table)
    console.print(
        "Means over seeds with 95 % bootstrap intervals by sequence; shares in %. right: centre in the true box and "
        "IoU > 0.3. on mask: of DAVIS; the true box's own centre is on it in "
        f"{100 * np.mean(true_on_mask):.0f} %. "
        "alone, lock-step: CPU ms a frame and box, camera included, a box by itself or all of a sequence together. "
        "These sequences were looked at while the tracker was made."
    )


def print_world(console: Console, title: str, rows: Sequence[Row]) -> None:
    """The table of a generated world."""
    table = Table(title=title)
    for heading in ("tracker", "videos", "seeds", "IoU", "centre in box", "right", "alone", "lock-step"):
        table.add_column(heading, justify="left" if heading == "tracker" else "right")
    for row in rows:
        table.add_row(row.tracker.name, *_world_cells(row.results), *_times(row))
    sparse = {(one.sequence, one.followed.seed) for row in rows if row.tracker.is_box_tracker for one in row.results}
    same = [result for result in rows[0].results if (result.sequence, result.followed.seed) in sparse]
    if same and not rows[0].tracker.is_box_tracker:
        table.add_row(f"{rows[0].tracker.name}, box trackers' seeds", *_world_cells(same), "", "")
    console.print(table)
    console.print(
        "Means over seeds with 95 % bootstrap intervals by video; shares in %; times as for real sequences. A track "
        "across a cut is wrong, and so is one whose solid ends less than 25 % in view. "
        f"Box trackers follow the seeds of every {_SPARSE_EVERY}th frame only."
    )


def true_ends(sequences: Iterable[Footage]) -> list[bool]:
    """Whether each seed's true box at its end has its centre on the object's mask, where there are masks."""
    return [
        bool(verdict.on_mask)
        for sequence in sequences
        for seed in sequence.seeds
        if seed.end is not None and (verdict := sequence.judge(seed, [seed.box, seed.end])).on_mask is not None
    ]


def _figures(of: Interval) -> str:
    if of.low is None or of.high is None:
        return f"{of.value:.3f}"
    return f"{of.value:.3f} [{of.low:.2f}, {of.high:.2f}]"


def _world_cells(results: Sequence[Result]) -> tuple[str, ...]:
    return (
        str(len({result.sequence for result in results})),
        str(len(results)),
        _figures(interval(results, lambda verdict: verdict.iou)),
        percents(interval(results, lambda verdict: verdict.centred)),
        percents(interval(results, lambda verdict: verdict.right)),
    )


def _times(row: Row) -> tuple[str, str]:
    return f"{statistics.median(row.alone_ms):.2f}", f"{row.lockstep_ms:.2f}"
