"""The report: self-contained, escaped, the same bytes again, and what it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit, read_file
from storage.root import Root
from storage.versions import Failure
from tasks.evaluate.benchmark import run_benchmark
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.curves import COLLAPSE_COSINE, training_curves
from tasks.evaluate.forest import forests
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.key import key_document, report_document
from tasks.evaluate.report import clean_words, write_report
from tasks.evaluate.scores import Score, no_score, score_rows
from tasks.noise import measure_noise
from tasks.records import METRIC_SCHEMA

EVIL = "<script>alert('x')</script><img src=http://evil.example/a.png onerror=alert(1)>"
FAILURES = (
    ("http://127.0.0.1:9/" + EVIL, Failure("download", "permanent", "not_found", f"\x1b[0;31mERROR:\x1b[0m {EVIL}")),
    ("b.mp4", Failure("track", "poison", "too_short", "1 frames decode, a track needs 31", attempts=2)),
)


@pytest.fixture(scope="module")
def benchmarks(finished: Any) -> dict[str, str]:
    config, keys = EvaluateConfig(bootstrap_samples=100, classification_crops_per_video=6), {}
    for name in ("retrieval", "classification"):
        inputs = Inputs(finished.train, triplets=finished.triplets, data=str(finished.labels))
        document = key_document(name, config, 0, inputs, {"labels": "0" * 64})
        keys[name] = run_benchmark(finished.root, name, inputs, config, 0, document, "cpu").key
    return keys


def _write(finished: Any, benchmarks: dict[str, str], outcomes: str, **changes: Any) -> Manifest:
    arguments = {"name": "demo", "tracks": finished.tracks, "failures": FAILURES, **changes}
    audit = arguments.get("audit", "")
    document = report_document(0, finished.train, finished.triplets, benchmarks, finished.tracks, outcomes, audit)
    return write_report(
        finished.root,
        arguments["name"],
        finished.train,
        finished.triplets,
        benchmarks,
        arguments["tracks"],
        arguments["failures"],
        audit,
        document,
    )


def _html(root: Root, manifest: Manifest) -> str:
    return read_file(root, manifest.files["report.html"]).decode()


class _Page(HTMLParser):
    """What a browser would fetch or run, and the text that it would show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_asks_for_nothing_outside_itself(finished: Any, benchmarks: dict[str, str]) -> None:
    html = _html(finished.root, _write(finished, benchmarks, "outside"))
    page = _Page(html)
    assert {"script", "link", "iframe", "object", "embed", "base", "form"}.isdisjoint(page.tags)
    for tag, name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "srcset", "poster", "data", "action"}:
            assert value.startswith(("data:image/jpeg;base64,", "#")), (tag, name, value[:80])
        assert not name.startswith("on"), (tag, name)
    css = "".join(re.findall(r"<style.*?</style>", html, re.DOTALL)) + "".join(
        value for _, name, value in page.attributes if name == "style"
    )
    assert "http" not in css
    assert "@import" not in css
    assert not re.search(r"url\((?!#)", css)


def test_untrusted_text_is_shown_and_never_markup(finished: Any, benchmarks: dict[str, str]) -> None:
    page = _Page(_html(finished.root, _write(finished, benchmarks, "untrusted", name=EVIL)))
    text = "".join(page.text)
    assert "script" not in page.tags
    assert text.count(EVIL) >= 4  # title, heading, source and words
    assert "ERROR: <script>" in text
    assert "\x1b" not in text


def test_the_page_shows_scores_pictures_reasons_and_keys(finished: Any, benchmarks: dict[str, str]) -> None:
    page = _Page(_html(finished.root, _write(finished, benchmarks, "contents")))
    text = "".join(page.text)
    for words in ("recall@1", "accuracy", "mAP", "forward backward", "too_short", "Near-duplicates", "training steps"):
        assert words in text
    for key in benchmarks.values():
        assert key[:16] in text
    labels = [value for _, name, value in page.attributes if name == "alt"]
    assert labels.count("frame with the tracked window") == 18
    assert labels.count("anchor") == labels.count("negative") == 8
    assert any("disc" in label for label in labels)
    assert page.tags.count("svg") > 3


def test_equal_units_give_equal_bytes(finished: Any, benchmarks: dict[str, str]) -> None:
    first, second = (_write(finished, benchmarks, outcomes) for outcomes in ("one", "two"))
    # The documents differ in this digest alone, and the page shows its own document.
    pages = []
    for manifest in (first, second):
        html = _html(finished.root, manifest)
        pages.append(html.replace(manifest.key[:16], "").replace("&#34;one&#34;", "").replace("&#34;two&#34;", ""))
    assert first.key != second.key
    assert pages[0] == pages[1]


def test_a_root_with_little_to_show_still_gives_a_page(finished: Any) -> None:
    page = _Page(_html(finished.root, _write(finished, {}, "little", tracks=[], failures=())))
    text = "".join(page.text)
    assert "No benchmark has run." in text
    assert "None." in text


def test_words_lose_colours_controls_and_direction_overrides() -> None:
    assert clean_words("\x1b[0;31mERROR:\x1b[0m a\x00b\u202egpj\nnext") == "ERROR: abgpj\nnext"


def _metrics(mean_cosine: float, steps: int = 900) -> pa.Table:
    rows = [
        dict.fromkeys(METRIC_SCHEMA.names, 0.5) | {"step": step, "mean_cosine": mean_cosine}
        for step in range(1, steps + 1)
    ]
    return pa.Table.from_pylist(rows, schema=METRIC_SCHEMA)


def test_curves_name_a_collapse_and_follow_the_theme() -> None:
    healthy, collapsed = training_curves(_metrics(0.2)), training_curves(_metrics(COLLAPSE_COSINE + 0.02))
    assert "no collapse" in healthy[1].words
    assert "collapsed" in collapsed[1].words
    for curve in healthy:
        assert "var(--trained)" in curve.svg
        assert "http" not in curve.svg
        assert not re.search(r"#0a0b0\d", curve.svg)
        assert len(curve.svg) < 60_000
    assert training_curves(_metrics(0.2).slice(0, 0)) == []
    assert len(training_curves(_metrics(0.2, steps=1))) == 3


def test_curves_leave_out_what_an_objective_does_not_have() -> None:
    features = _metrics(0.998)
    for name in ("active_share", "positive_cosine", "negative_cosine"):
        empty = pa.nulls(features.num_rows, pa.float64())
        features = features.set_column(features.column_names.index(name), name, empty)
    curves = training_curves(features)
    assert [curve.title for curve in curves] == ["Loss", "Cosines"]
    assert curves[1].words == "all patches end at a mean cosine of 1.00"
    assert "nan" not in "".join(curve.words + curve.svg for curve in curves)


def test_verdicts_follow_the_interval_of_the_difference() -> None:
    rows = [
        Score("classification", "accuracy", "trained", 0.7, 0.6, 0.8, 50, 5, "held-out video", 0.1, "note"),
        Score("classification", "accuracy", "untrained", 0.5, 0.4, 0.6, 50, 5, "held-out video", 0.1, "note"),
        Score(
            "classification", "accuracy", "trained - untrained", 0.2, 0.1, 0.3, 50, 5, "held-out video", None, "note"
        ),
        Score("classification", "accuracy", "trained - hog", -0.1, -0.2, 0.05, 50, 5, "held-out video", None, "note"),
        Score("retrieval", "recall@1", "trained - untrained", -0.2, -0.3, -0.1, 50, 5, "held-out video", None, "note"),
        Score("retrieval", "recall@5", "trained - untrained", 0.2, None, None, 50, 1, "held-out video", None, "note"),
    ]
    accuracy, first, fifth = forests(rows)
    assert [each.verdict for each in accuracy.differences] == ["better", "undecided"]
    assert first.differences[0].verdict == "worse"
    assert fifth.differences[0].verdict == "undecided"
    assert accuracy.differences[1].points == "−10.0"
    assert [mark.features for mark in accuracy.marks] == ["trained", "untrained"]
    for mark in accuracy.marks:
        assert mark.low is not None
        assert mark.high is not None
        assert 0 <= mark.low < mark.at < mark.high <= 100


def test_score_rows_pair_their_differences() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(200)  # items differ far more than features do
    values = {"trained": hard + 0.05, "untrained": hard, "hog": hard - 0.05}
    rows = score_rows("b", "m", values, np.repeat(np.arange(20), 10), samples=500, chance=0.5)
    by_name = {row.features: row for row in rows}
    difference = by_name["trained - untrained"]
    assert difference.low == pytest.approx(0.05)
    assert difference.high == pytest.approx(0.05)
    trained = by_name["trained"]
    assert trained.low is not None
    assert trained.high is not None
    assert trained.high - trained.low > 0.02
    assert no_score("b", "m", "why").value is None


def _audited(root: Root, rows: list[dict[str, Any]]) -> str:
    """A committed audit (key) with these rows."""
    noise = measure_noise(rows, "klt<b>", 2, 40, 0)
    document = KeyDocument(Recipe("audit", 1, variant={"estimator": "klt"}), {"rows": len(rows)})
    return commit(root, document, {}, facts={"noise": noise.to_json()}).key


def test_the_page_shows_the_trackers_noise(finished: Any, benchmarks: dict[str, str]) -> None:
    errors = {"centre_error_px": 4.0, "centre_error_share": 0.1, "scale_error": 0.2, "iou": 0.8}
    nowhere: dict[str, Any] = {"centre_error_px": None, "centre_error_share": None, "scale_error": None, "iou": 0.0}
    rows: list[dict[str, Any]] = [
        {"video": number % 2, "accepted": True, "reason": "", "possible": True, "right": True, "cause": "", **errors}
        for number in range(6)
    ]
    rows.append(
        {"video": 0, "accepted": True, "reason": "", "possible": False, "right": False, "cause": "no_object", **nowhere}
    )
    rows.append(
        {"video": 1, "accepted": False, "reason": "lost", "possible": True, "right": True, "cause": "", **errors}
    )
    html = _html(finished.root, _write(finished, benchmarks, "noise", audit=_audited(finished.root, rows)))
    text = " ".join(" ".join(_Page(html).text).split())
    assert "Tracker noise" in text
    assert "klt<b>" in text, "escaped"
    assert "14.3 % 0.0 % to 25.0 %" in text, "one wrong of seven"
    assert (
        "6 right ones came of 40 windows. Of 7 windows that could be followed to their end, 6 gave a right pair."
        in text
    )
    assert "right 6 85.7 % 4.0 10.0 % × 1.22 0.80" in text
    assert "wrong: no object 1 14.3 % – – – –" in text
    assert "audit of the tracker" in text


def test_an_audit_without_tracks_and_no_audit(finished: Any, benchmarks: dict[str, str]) -> None:
    empty = _html(finished.root, _write(finished, benchmarks, "empty", audit=_audited(finished.root, [])))
    assert "No track of the 40 windows was accepted there." in empty
    assert "Tracker noise" not in _html(finished.root, _write(finished, benchmarks, "none"))
