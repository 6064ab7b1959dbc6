"""Networks side by side: the scores of their benchmark units in one table and plots, each beside a base, paired.

Units draw the same resamples on the same items, whatever network they judge (`tasks.evaluate.scores.SEED`). So the
difference of two units' draws is that of a paired comparison where they asked about the same items, and the mean of
several seeds' draws has the interval of their mean over items, the seeds taken as they are.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage.keys import KeyDocument, digest_json, document_from_json
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root
from storage.tables import read_table, table_bytes
from tasks.bootstrap import Resampled
from tasks.evaluate import FEATURES
from tasks.evaluate.forest import interval_words, scale_of, value_words
from tasks.evaluate.inputs import Entrant
from tasks.evaluate.pages.rendering import render
from tasks.evaluate.parts import head_metrics
from tasks.evaluate.plots import comparison_plot
from tasks.evaluate.scores import Unit
from tasks.records import Progress, no_progress

REFERENCES = FEATURES[1:]  # of the base's units, in each group: the network untrained, and what no training made
COMPARISON_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("entrant", pa.string()),
        ("benchmark", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),  # a mean over seeds
        ("low", pa.float64()),  # 95 % bootstrap interval over `cluster`s
        ("high", pa.float64()),
        ("above_base", pa.float64()),  # the entrant's value minus the base's
        ("above_low", pa.float64()),
        ("above_high", pa.float64()),
        ("paired", pa.bool_()),  # the difference: drawn over the same items on both sides, or over each side's own
        ("num_seeds", pa.int64()),
        ("num_clusters", pa.int64()),
        ("cluster", pa.string()),
        ("subset", pa.string()),
        ("unit", pa.string()),
        ("note", pa.string()),  # why there is no value
    ]
)
# Inputs that are judged, or follow from the others.
_JUDGED = frozenset({"train", "network", "detection", "supervised", "proposals"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A row of COMPARISON_SCHEMA."""

    group: str
    entrant: str
    benchmark: str = ""
    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    above_base: float | None = None
    above_low: float | None = None
    above_high: float | None = None
    paired: bool = True
    num_seeds: int = 0
    num_clusters: int = 0
    cluster: str = ""
    subset: str = ""
    unit: Unit = "share"
    note: str = ""


def write_comparison(
    root: Root,
    name: str,
    groups: Mapping[str, Sequence[Entrant]],
    base: str,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Compare the entrants of each group with that labelled `base`, and commit the unit.

    Files: `comparison.parquet` (COMPARISON_SCHEMA) and `comparison.html`, one self-contained page. `device` is taken as
    from every unit of the stage, and not used. Raises RootError where a unit is missing or damaged.
    """
    started = time.monotonic()
    rows: list[Row] = []
    for done, (group, entrants) in enumerate(groups.items()):
        progress(done, len(groups), group)
        rows += compare(root, group, entrants, base)
    page = {"name": name, "base": base, "groups": list(_shown(rows)), "document": _json(document), "key": document.key}
    filters = {"value": shown_value, "interval": shown_interval, "difference": shown_difference}
    html = render("comparison.html.jinja", page, **filters)
    files = {
        "comparison.parquet": table_bytes([asdict(row) for row in rows], COMPARISON_SCHEMA),
        "comparison.html": html.encode(),
    }
    seconds = time.monotonic() - started
    manifest = commit(root, document, files, counts={"rows": len(rows)}, facts={"name": name}, seconds=seconds)
    _log.info("compared %d groups of networks in %.1f s", len(groups), seconds)
    return manifest


def compare(root: Root, group: str, entrants: Sequence[Entrant], base: str) -> list[Row]:
    """The rows of one group: every metric of every entrant, then what the base's own units hold to compare with."""
    measured = {entrant.label: _Measured(root, entrant) for entrant in entrants}
    ours = measured.get(base)
    rows: list[Row] = []
    for label, one in measured.items():
        told = [*filter(None, [one.entrant.note]), *one.reasons]
        if told or not one.metrics:
            rows.append(Row(group, label, note="; ".join(told) or "no benchmark has run"))
        for benchmark, metric in one.metrics:
            rows.append(_row(group, label, one, (benchmark, metric, "trained"), None if one is ours else ours))
    if ours is not None:
        for reference in REFERENCES:
            known = [each for each in ours.metrics if (*each, reference) in ours.draws]
            rows += [_row(group, reference, ours, (*each, reference), ours) for each in known]
    return rows


class _Measured:
    """What an entrant's units hold: rows by (benchmark, metric, features), and the means of their draws."""

    def __init__(self, root: Root, entrant: Entrant) -> None:
        self.entrant = entrant
        self.scores: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.reasons: dict[str, None] = {}  # why something has no value, each once
        self.asked: dict[str, list[str]] = {}  # by benchmark, digests of what each seed's unit was asked about
        found: dict[tuple[str, str, str], list[Resampled]] = {}
        for units in entrant.seeds:
            for benchmark, key in units.items():
                unit = require_manifest(root, "evaluate", key)
                self.asked.setdefault(benchmark, []).append(_asked(unit))
                drawn = {
                    (row["metric"], row["features"]): np.asarray(row["draws"], np.float64)
                    for row in read_table(root, unit.files["draws.parquet"]).to_pylist()
                }
                for row in read_table(root, unit.files["scores.parquet"]).to_pylist():
                    if row["value"] is None:
                        self.reasons[f"{benchmark}, {row['metric']}: {row['note']}"] = None
                    elif (row["metric"], row["features"]) in drawn:
                        name = (benchmark, row["metric"], row["features"])
                        self.scores.setdefault(name, row)
                        value = Resampled(row["value"], drawn[row["metric"], row["features"]])
                        found.setdefault(name, []).append(value)
        self.draws = {name: _mean(values) for name, values in found.items()}
        self.num_seeds = {name: len(values) for name, values in found.items()}

    @property
    def metrics(self) -> list[tuple[str, str]]:
        return [(benchmark, metric) for benchmark, metric, features in self.scores if features == "trained"]


def _asked(unit: Manifest) -> str:
    """A digest of what a unit's items are drawn from: its inputs but for those that are judged, and its seed."""
    inputs = document_from_json(unit.document).inputs
    items = {name: value for name, value in inputs.items() if name not in _JUDGED}
    return digest_json([unit.recipe.seed, items])


def _mean(values: Sequence[Resampled]) -> Resampled:
    draws = [each.draws for each in values]
    same = len({len(each) for each in draws}) == 1
    return Resampled(float(np.mean([each.value for each in values])), np.mean(draws, axis=0) if same else np.zeros(0))


def _row(group: str, label: str, one: _Measured, name: tuple[str, str, str], base: _Measured | None) -> Row:
    """`base`: None for the base itself."""
    score, drawn = one.scores[name], one.draws[name]
    interval, above, paired = drawn.interval(), None, True
    other = (*name[:2], "trained")
    if base and other in base.draws:
        ours = base.draws[other]
        same_items = base.scores[other]["num_clusters"] == score["num_clusters"]
        paired = same_items and base.asked[name[0]] == one.asked[name[0]]
        # Draws turned round are those of another resampling: the two sides then vary by themselves.
        against = ours if paired else Resampled(ours.value, ours.draws[::-1])
        same = len(ours.draws) == len(drawn.draws)
        above = (drawn - against if same else Resampled(drawn.value - ours.value, np.zeros(0))).interval()
    return Row(
        group,
        label,
        *name[:2],
        value=interval.value,
        low=interval.low,
        high=interval.high,
        above_base=above.value if above else None,
        above_low=above.low if above else None,
        above_high=above.high if above else None,
        paired=paired,
        num_seeds=one.num_seeds[name],
        **{shared: score[shared] for shared in ("num_clusters", "cluster", "subset", "unit")},
    )


def _shown(rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    """By group what the template shows: for each benchmark's first metric a plot and a table, then all metrics."""
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        known = [row for row in mine if not row.note]
        blocks = []
        for benchmark, metric in head_metrics((row.benchmark, row.metric) for row in known).items():
            headline = [row for row in known if (row.benchmark, row.metric) == (benchmark, metric)]
            plot = comparison_plot(
                [row.entrant for row in headline],
                [(row.value, row.low, row.high) for row in headline if row.value is not None],
                num_references=sum(row.entrant in REFERENCES for row in headline),
                scale=scale_of(headline[0].unit),
            )
            blocks.append({"benchmark": benchmark, "metric": metric, "plot": plot, "rows": headline})
        yield {"name": group, "blocks": blocks, "rows": known, "missing": [row for row in mine if row.note]}


def shown_value(row: Row) -> str:
    """The row's value in words: percent, or degrees."""
    return value_words(row.value, row.unit, signed=False)


def shown_interval(row: Row) -> str:
    """Its interval in words."""
    return interval_words(row.low, row.high, row.unit, signed=False)


def shown_difference(row: Row) -> str:
    """What the entrant is above the base, with its interval; empty for the base."""
    if row.above_base is None:
        return ""
    known = row.above_low is not None
    interval = f" ({interval_words(row.above_low, row.above_high, row.unit, signed=True)})" if known else ""
    return f"{value_words(row.above_base, row.unit, signed=True)}{interval}{'' if row.paired else ', unpaired'}"


def _json(document: KeyDocument) -> str:
    return json.dumps(document.to_json(), indent=2, ensure_ascii=False)
