"""Comparisons: means of seeds, paired differences, and what cannot be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit
from storage.root import Root, open_root
from storage.tables import table_bytes
from tasks.evaluate.comparison import compare, shown_difference, shown_interval, shown_value, write_comparison
from tasks.evaluate.inputs import Entrant
from tasks.evaluate.key import comparison_document
from tasks.evaluate.scores import DRAW_SCHEMA, Score, draw_records, no_score, record_of, score_rows, statistic_rows
from tasks.records import SCORE_SCHEMA


@pytest.fixture
def root(tmp_path: Any) -> Root:
    return open_root(str(tmp_path / "root"))


def test_a_difference_is_paired_over_the_same_items_and_seeds_are_averaged(root: Root) -> None:
    hard = np.random.default_rng(0).random(300)  # images differ far more than networks do
    images = np.arange(300)

    def unit(name: str, bonus: float) -> str:
        values = {"trained": hard + bonus, "untrained": hard}
        return _commit(root, name, score_rows("b", "m", values, images, samples=300, chance=0.5, cluster="image"))

    base = Entrant("base", ({"b": unit("a", 0.0)}, {"b": unit("b", 0.02)}))
    other = Entrant("<b>other</b>", ({"b": unit("c", 0.05)}, {"b": unit("d", 0.07)}))
    failed = Entrant("slow", note="collapsed: all patches are alike")
    rows = {row.entrant: row for row in compare(root, "g", [base, other, failed], "base")}
    assert rows["base"].value == pytest.approx(hard.mean() + 0.01)
    assert rows["base"].above_base is None
    assert rows["base"].num_seeds == 2
    assert rows["<b>other</b>"].above_base == pytest.approx(0.05)
    assert rows["<b>other</b>"].above_low == pytest.approx(0.05, abs=1e-5), "what makes an image hard drops out"
    assert rows["<b>other</b>"].above_high == pytest.approx(0.05, abs=1e-5)
    assert rows["<b>other</b>"].high - rows["<b>other</b>"].low > 0.03  # type: ignore[operator]
    assert rows["untrained"].above_base == pytest.approx(-0.01)
    assert rows["slow"].note == "collapsed: all patches are alike"
    groups = {"g <i>": [base, other, failed]}
    document = comparison_document("name", "base", groups)
    manifest = write_comparison(root, "name", groups, "base", document)
    page = root.read_bytes(manifest.files["comparison.html"].path).decode()
    assert "&lt;b&gt;other&lt;/b&gt;" in page
    assert "<b>other" not in page
    assert "+5.0 (+5.0 to +5.0)" in page
    assert "collapsed: all patches are alike" in page
    assert document.key != comparison_document("name", "base", {"g <i>": [base, other]}).key


def test_other_items_are_compared_unpaired_and_degrees_stay_degrees(root: Root) -> None:
    def unit(name: str, items: int, angle: float) -> str:
        angles = np.full(items, angle)
        statistics = {"trained": lambda drawn: float(angles @ drawn / drawn.sum())}
        rows = statistic_rows("normals", "mean angle", statistics, items, samples=50, unit="degrees")
        return _commit(root, name, [*rows, no_score("normals", "median", "why")])

    entrants = [Entrant("base", ({"normals": unit("a", 9, 30.0)},)), Entrant("o", ({"normals": unit("b", 7, 25.0)},))]
    rows = compare(root, "g", entrants, "base")
    assert [row.note for row in rows if row.note] == ["normals, median: why"] * 2, "what is missing is told"
    base, other = (row for row in rows if not row.note)
    assert (other.above_base, other.paired) == (-5.0, False)
    assert shown_value(base) == "30.0°"
    assert shown_interval(base) == "30.0 to 30.0°"
    assert shown_difference(other) == "−5.0 (−5.0 to −5.0), unpaired"
    assert shown_difference(base) == ""


def _commit(root: Root, name: str, scores: list[Score]) -> str:
    files = {
        "scores.parquet": table_bytes([record_of(score) for score in scores], SCORE_SCHEMA),
        "draws.parquet": table_bytes(draw_records(scores), DRAW_SCHEMA),
    }
    return commit(root, KeyDocument(Recipe("evaluate", 2), {"train": name, "voc": "0"}), files).key
