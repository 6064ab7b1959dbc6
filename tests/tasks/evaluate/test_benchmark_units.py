"""Benchmarks over a small finished root: units, scores and their unhappy paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.manifests import Manifest, require_manifest
from storage.root import RootError
from storage.tables import read_table
from tasks.evaluate import DATA, OF_TRACKS
from tasks.evaluate.benchmark import run_benchmark
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.inputs import Inputs, data_digest
from tasks.evaluate.key import key_document
from tasks.evaluate.pairs import PatchReader, read_pairs
from tasks.records import SCORE_SCHEMA

PLAIN = ("trained", "untrained", "hog", "colour", "pixels")
KINDS = {*PLAIN, *(f"trained - {other}" for other in PLAIN[1:])}
CONFIG = EvaluateConfig(bootstrap_samples=200, classification_crops_per_video=12)


def _run(finished: Any, name: str, labels: str = "", seed: int = 0) -> Manifest:
    config = CONFIG.model_copy(update={"labels": labels or str(finished.labels)})
    digests = {"labels": data_digest(config, "labels")}
    data = config.labels if DATA.get(name) == "labels" else ""
    inputs = Inputs(train=finished.train, triplets=finished.triplets, data=data)
    document = key_document(name, config, seed, inputs, digests)
    return run_benchmark(finished.root, name, inputs, config, seed, document, device="cpu")


@pytest.fixture(scope="module")
def measured(finished: Any) -> dict[str, Manifest]:
    """Every benchmark of held-out tracks, run once."""
    return {name: _run(finished, name) for name in sorted(OF_TRACKS)}


def _scores(finished: Any, manifest: Manifest) -> dict[tuple[str, str], dict[str, Any]]:
    table = read_table(finished.root, manifest.files["scores.parquet"])
    assert table.schema == SCORE_SCHEMA
    return {(row["metric"], row["features"]): row for row in table.to_pylist()}


@pytest.mark.parametrize("name", sorted(OF_TRACKS))
def test_every_benchmark_commits_scores_with_intervals_and_paired_differences(
    finished: Any, measured: dict[str, Manifest], name: str
) -> None:
    manifest = measured[name]
    scores = _scores(finished, manifest)
    assert require_manifest(finished.root, "evaluate", manifest.key) == manifest
    metrics = {metric for metric, _ in scores}
    for metric in metrics:
        rows = {features: row for (each, features), row in scores.items() if each == metric}
        assert set(rows) == KINDS
        assert all(row["benchmark"] == name and row["num_clusters"] == 3 for row in rows.values())
        assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())
        assert rows["trained - hog"]["value"] == pytest.approx(rows["trained"]["value"] - rows["hog"]["value"])
        assert 0 < rows["trained"]["chance"] <= 1
        assert rows["trained - hog"]["chance"] is None


@pytest.mark.parametrize("name", sorted(OF_TRACKS))
def test_neighbours_never_come_from_the_queries_video(finished: Any, measured: dict[str, Manifest], name: str) -> None:
    rows = read_table(finished.root, measured[name].files["neighbours.parquet"]).to_pylist()
    queries = {row["query"]: row for row in rows if row["rank"] == 0}
    assert queries
    assert {row["features"] for row in rows if row["rank"]} == {"trained", "untrained", "hog"}
    for row in rows:
        if row["rank"]:
            other = row["video"] != queries[row["query"]]["video"]
            # In track retrieval the one answer from the query's video is its own positive.
            assert other or (name == "retrieval" and row["relevant"])
            if name == "classification":
                assert row["relevant"] == (row["label"] == queries[row["query"]]["label"])


def test_the_same_unit_gives_the_same_scores_again(
    finished: Any, tmp_path: Path, make_finished: Callable[..., Any]
) -> None:
    again = make_finished(str(tmp_path / "root"), tmp_path)
    for name in sorted(OF_TRACKS):
        first, second = _run(finished, name), _run(again, name)
        assert first.key == second.key
        assert first.files["scores.parquet"].sha256 == second.files["scores.parquet"].sha256


def test_classification_tells_shapes_apart_by_hand_made_features(finished: Any, measured: dict[str, Manifest]) -> None:
    scores = _scores(finished, measured["classification"])
    assert scores["accuracy", "hog"]["value"] > 0.9
    assert scores["accuracy", "hog"]["num_items"] == 3 * 12
    assert scores["accuracy", "hog"]["chance"] == pytest.approx(1 / 3, abs=0.15)


@pytest.mark.parametrize("name", sorted(OF_TRACKS))
def test_one_held_out_video_gives_no_interval(name: str, tmp_path: Path, make_finished: Callable[..., Any]) -> None:
    lonely = make_finished(str(tmp_path / "root"), tmp_path, num_train=3, num_held_out=1)
    scores = _scores(lonely, _run(lonely, name))
    assert all(row["low"] is None and row["high"] is None for row in scores.values())
    assert all("no" in row["note"] for row in scores.values())
    if name == "classification":
        assert scores["accuracy", "trained"]["value"] is not None
        assert scores["mAP", "trained"]["value"] is None
    else:
        assert scores["recall@1", "trained"]["value"] is None


def test_no_held_out_video_says_so(tmp_path: Path, make_finished: Callable[..., Any]) -> None:
    none = make_finished(str(tmp_path / "root"), tmp_path, num_train=2, num_held_out=0)
    for name in sorted(OF_TRACKS):
        scores = _scores(none, _run(none, name))
        assert all(row["value"] is None and row["note"] for row in scores.values())


def test_labelled_videos_without_a_split_are_skipped_and_counted(finished: Any, tmp_path: Path) -> None:
    table = pq.read_table(finished.labels).to_pylist()
    stray = [{**row, "video": "f" * 64} for row in table[:5]]
    hidden = [{**row, "visibility": 0.1} for row in table[:4]]
    small = [{**row, "width": 2.0} for row in table[:3]]
    late = [{**row, "frame": 10_000} for row in table[:2]]
    broken = [{**row, "x": float("nan")} for row in table[:1]]
    path = tmp_path / "labels.parquet"
    # Twelve crops a video at most: the late ones stand alone in their video, so that the draw cannot miss them.
    rest = [row for row in table if row["video"] != table[0]["video"]]
    pq.write_table(pa.Table.from_pylist([*rest, *stray, *hidden, *small, *late, *broken]), path)
    counts = _run(finished, "classification", str(path)).counts
    assert counts["labelled_videos_without_split"] == 1
    assert counts["labels_hidden"] == 4
    assert counts["labels_small"] == 3
    assert counts["labels_undecodable"] == 2
    assert counts["labels_incomplete"] == 1


def test_labels_that_cannot_be_used_are_named_with_the_remedy_in_one_line(finished: Any, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.parquet"
    text = tmp_path / "text.parquet"
    text.write_text("video,class\n")
    short = tmp_path / "short.parquet"
    pq.write_table(pq.read_table(finished.labels).drop_columns(["class", "x"]), short)
    wrong = tmp_path / "wrong.parquet"
    table = pq.read_table(finished.labels)
    pq.write_table(table.set_column(table.column_names.index("x"), "x", pa.array(["left"] * len(table))), wrong)
    with pytest.raises(ValueError, match=r"nowhere\.parquet.*leave it empty") as absent:
        data_digest(CONFIG.model_copy(update={"labels": str(missing)}), "labels")
    messages = [str(absent.value)]
    inputs = Inputs(finished.train, triplets=finished.triplets)
    document = key_document("classification", CONFIG, 0, inputs, {"labels": "0" * 64})
    for path, words in (
        (missing, "does not exist"),
        (text, "no Parquet"),
        (short, "no column class, x"),
        (wrong, "cannot be read"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            run_benchmark(finished.root, "classification", replace(inputs, data=str(path)), CONFIG, 0, document, "cpu")
        assert path.name in str(caught.value)
        assert "leave it empty" in str(caught.value)
        messages.append(str(caught.value))
    assert not any("\n" in message for message in messages)


def test_unknown_names_and_missing_units_are_named(finished: Any) -> None:
    inputs = Inputs(finished.train, triplets=finished.triplets)
    document = key_document("retrieval", CONFIG, 0, inputs, {})
    with pytest.raises(ValueError, match="'segmentation' is unknown; choose one of classification"):
        run_benchmark(finished.root, "segmentation", inputs, CONFIG, 0, document)
    with pytest.raises(RootError, match="no train unit"):
        run_benchmark(finished.root, "retrieval", replace(inputs, train="0" * 64), CONFIG, 0, document)
    with pytest.raises(ValueError, match="device: 'tpu' is not present; choose one of auto, "):
        run_benchmark(finished.root, "retrieval", inputs, CONFIG, 0, document, "tpu")


def test_patches_lose_their_margin(finished: Any) -> None:
    pair = read_pairs(finished.root, require_manifest(finished.root, "shard", finished.triplets), "held_out")[0]
    with PatchReader(finished.root) as reader:
        whole = reader.patch(pair.shard, pair.row, "anchor", 40)
        assert whole.shape == (40, 40, 3)
        assert reader.patch(pair.shard, pair.row, "anchor", 32).dtype == np.uint8
        assert reader.jpeg(pair.shard, pair.row, "anchor") != reader.jpeg(pair.shard, pair.row, "positive")


def test_a_remote_root_gives_the_same_scores(
    finished: Any,
    measured: dict[str, Manifest],
    tmp_path: Path,
    make_finished: Callable[..., Any],
    s3_root_url: Callable[[], str],
) -> None:
    remote = make_finished(s3_root_url(), tmp_path)
    for name in sorted(OF_TRACKS):
        assert _scores(remote, _run(remote, name)) == _scores(finished, measured[name])
