"""The report: one self-contained HTML page, from stored units alone."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.keys import KeyDocument, library_versions
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.tables import read_table
from storage.versions import Failure
from tasks.evaluate import FEATURES
from tasks.evaluate.breakdown import Breakdown, breakdowns, precision_recall, whole_scores
from tasks.evaluate.curves import training_curves
from tasks.evaluate.filters import filter_pictures
from tasks.evaluate.forest import Forest, forests
from tasks.evaluate.gallery import QueryPicture, query_pictures, stored_pictures, track_pictures, triplet_pictures
from tasks.evaluate.key import SHOWN_LIBRARIES
from tasks.evaluate.pages.rendering import clean_words, render
from tasks.evaluate.pairs import Pair, read_pairs
from tasks.evaluate.scores import Score
from tasks.noise import noise_from_json
from tasks.records import Progress, no_progress

_log = logging.getLogger(__name__)

_COUNTED_UNITS = 500  # track manifests that are read for the counts; more would cost a request each
_PLOTTED = 4  # metrics of a benchmark
_LISTED = 200  # rows of a table on the page


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: its words, its length in percent of the longest, and its count."""

    label: str
    count: int
    length: float


@dataclass(frozen=True)
class FailedItem:
    """A failed source or video, its words cleaned for display; `words` is untrusted text."""

    item: str
    stage: str
    kind: str
    reason: str
    attempts: int
    words: str


def write_report(
    root: Root,
    name: str,
    train: str,
    triplets: str,
    benchmarks: Mapping[str, str],
    tracks: Sequence[str],
    failures: Sequence[tuple[str, Failure]],
    audit: str,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Write and commit `report.html` of a data set (`name`) from its units (keys).

    `benchmarks` maps names to units, `tracks` lists track units, `failures` what failed, by source or video. `audit`:
    the unit of the tracker's audit; empty for a page without the tracker's noise.
    The page asks for nothing outside itself, runs no script, and holds untrusted text only escaped. Equal
    units give equal bytes. `device` is taken as from every unit of the stage, and not used.
    """
    started = time.monotonic()
    audited = require_manifest(root, "audit", audit) if audit else None
    page = _page(root, name, train, triplets, benchmarks, tracks, failures, audited, document, progress)
    html = render("report.html.jinja", page).encode()
    seconds = time.monotonic() - started
    manifest = commit(
        root, document, {"report.html": html}, counts={"bytes": len(html)}, facts={"name": name}, seconds=seconds
    )
    _log.info("report of %s: %d kB in %.1f s", name, len(html) // 1000, seconds)
    return manifest


def _page(
    root: Root,
    name: str,
    train: str,
    triplets: str,
    benchmarks: Mapping[str, str],
    tracks: Sequence[str],
    failures: Sequence[tuple[str, Failure]],
    audited: Manifest | None,
    document: KeyDocument,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    trained, indexed = require_manifest(root, "train", train), require_manifest(root, "shard", triplets)
    measured = {benchmark: require_manifest(root, "evaluate", key) for benchmark, key in benchmarks.items()}
    scores = [score for unit in measured.values() for score in _scores(root, unit)]
    progress(1, 5, "counts")
    units = [require_manifest(root, "track", key) for key in tracks[:_COUNTED_UNITS]]
    counts: Counter[str] = Counter()
    for unit in units:
        counts.update(unit.counts)
    progress(2, 5, "tracks")
    pairs = read_pairs(root, indexed)
    drawn = track_pictures(root, units, document.recipe.seed)
    progress(3, 5, "triplets and neighbours")
    shown = triplet_pictures(root, pairs, document.recipe.seed)
    neighbours: dict[str, list[QueryPicture]] = {
        benchmark: queries for benchmark, unit in measured.items() if (queries := query_pictures(root, unit))
    }
    progress(4, 5, "page")
    return {
        "name": name,
        **_plots(root, scores, measured),
        "funnel": _funnel(counts, pairs, trained),
        "rejections": _bars({key: count for key, count in counts.items() if key.startswith("rejected_")}),
        "counted_units": len(units),
        "num_tracked": len(tracks),
        "noise": noise_from_json(audited.facts["noise"]) if audited else None,
        "num_videos": {
            split: len({pair.video for pair in pairs if pair.split == split}) for split in ("train", "held_out")
        },
        "tracks": drawn,
        "triplets": shown,
        "neighbours": neighbours,
        "filters": filter_pictures(root, trained),
        "pictures": {name: rows for name, unit in measured.items() if (rows := stored_pictures(root, unit))},
        "curves": training_curves(read_table(root, trained.files["metrics.parquet"])),
        "failures": _failed(failures)[:_LISTED],
        "num_failures": len(failures),
        "failed_by": _bars(Counter(f"{failure.stage}: {failure.reason}" for _, failure in failures)),
        "duplicates": _duplicates(pairs)[:_LISTED],
        "documents": _documents(trained, indexed, measured, units, audited, document),
        "libraries": library_versions(*SHOWN_LIBRARIES),
        "seed": document.recipe.seed,
        "trained": trained,
    }


def _plots(root: Root, scores: list[Score], measured: Mapping[str, Manifest]) -> dict[str, Any]:
    """All that shows the scores, by the template's names; the first plot of each benchmark is its headline."""
    plots = forests(_leading(whole_scores(scores)))
    headlines: dict[str, Forest] = {}
    for plot in plots:
        headlines.setdefault(plot.benchmark, plot)
    return {
        "features": FEATURES,
        "scores": scores,
        "forests": plots,
        "headlines": list(headlines.values()),
        "breakdowns": breakdowns(scores) + _curves(root, measured),
    }


def _curves(root: Root, measured: Mapping[str, Manifest]) -> list[Breakdown]:
    return [
        plot
        for name, unit in measured.items()
        if "curves.parquet" in unit.files
        for plot in precision_recall(name, read_table(root, unit.files["curves.parquet"]))
    ]


def _leading(scores: Sequence[Score]) -> list[Score]:
    """The scores of each benchmark's first metrics: the table has all, a plot of each would bury the page."""
    metrics: dict[str, dict[str, None]] = {}
    for score in scores:
        metrics.setdefault(score.benchmark, {})[score.metric] = None
    leading = {name: list(found)[:_PLOTTED] for name, found in metrics.items()}
    return [score for score in scores if score.metric in leading[score.benchmark]]


def _scores(root: Root, unit: Manifest) -> list[Score]:
    return [Score(**row) for row in read_table(root, unit.files["scores.parquet"]).to_pylist()]


def _funnel(counts: Counter[str], pairs: Sequence[Pair], trained: Manifest) -> list[tuple[str, int]]:
    """What became of what, in the order of the data flow; counts that no unit gives are left out."""
    held_out = sum(pair.split == "held_out" for pair in pairs)
    steps = [
        ("frames decoded", counts["frames"]),
        ("frames tried as a start", counts["starts"]),
        ("tracks kept", counts["tracks"]),
        ("pairs to train on", len(pairs) - held_out),
        ("pairs held out", held_out),
        ("training steps", trained.counts.get("steps", 0)),
    ]
    return [(label, count) for label, count in steps if count]


def _bars(counts: Mapping[str, int]) -> list[Bar]:
    """Counts above 0 as bars, the longest first."""
    kept = sorted(((count, key) for key, count in counts.items() if count), key=lambda entry: (-entry[0], entry[1]))
    most = kept[0][0] if kept else 1
    return [
        Bar(key.removeprefix("rejected_").replace("_", " "), count, round(100 * count / most, 1)) for count, key in kept
    ]


def _failed(failures: Sequence[tuple[str, Failure]]) -> list[FailedItem]:
    return [
        FailedItem(
            clean_words(item),
            failure.stage,
            failure.kind,
            failure.reason,
            failure.attempts,
            clean_words(failure.words).strip(),
        )
        for item, failure in failures
    ]


def _duplicates(pairs: Sequence[Pair]) -> list[tuple[str, list[str]]]:
    """Groups of near-duplicate videos, as (split, videos)."""
    groups: dict[str, set[str]] = {}
    split_of: dict[str, str] = {}
    for pair in pairs:
        groups.setdefault(pair.group, set()).add(pair.video)
        split_of[pair.group] = pair.split.replace("_", "-")
    return [(split_of[group], sorted(videos)) for group, videos in sorted(groups.items()) if len(videos) > 1]


def _documents(
    trained: Manifest,
    indexed: Manifest,
    measured: Mapping[str, Manifest],
    units: Sequence[Manifest],
    audited: Manifest | None,
    document: KeyDocument,
) -> list[tuple[str, str, str]]:
    """(title, key, JSON) of each unit's key document; of the track units one stands for all."""
    entries = [("track, the first unit", units[0].key, units[0].document)] if units else []
    entries += [("audit of the tracker", audited.key, audited.document)] if audited else []
    entries += [
        ("shard, the triplet index", indexed.key, indexed.document),
        ("train", trained.key, trained.document),
        *((f"evaluate, {name}", unit.key, unit.document) for name, unit in measured.items()),
        ("evaluate, this report", document.key, document.to_json()),
    ]
    return [(title, key, json.dumps(record, indent=2, ensure_ascii=False)) for title, key, record in entries]
