"""Detection from end to end on a generated VOC folder: scores, files, caches, ensembles and unhappy paths."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch

from flows.benchmarks import benchmark_units, proposal_units
from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit, require_manifest
from storage.root import Root, RootError, open_root
from storage.tables import read_table
from tasks.batch import Outcome, run_unit
from tasks.evaluate import BENCHMARKS
from tasks.evaluate.breakdown import precision_recall
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.detection import read_setting
from tasks.evaluate.drawn import SHOWN_IMAGES
from tasks.evaluate.ensemble import run_ensemble
from tasks.evaluate.gallery import stored_pictures
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.key import ensemble_document
from tasks.evaluate.pictures import decode_jpeg
from tasks.evaluate.proposals import read_proposals
from tasks.evaluate.resuming import Attempts
from tasks.networks.weights import NetworkSpec, untrained_network
from tasks.presets import RunConfig
from tests.tasks.evaluate.voc_folder import CLASSES, annotation_xml, make_voc, object_xml

KINDS = ("trained", "untrained", "hog")
FIELDS: dict[str, Any] = {
    "benchmarks": ("detection",),
    "bootstrap_samples": 100,
    "detection_proposals": 60,
    "detection_search_px": 64,
    "detection_steps": 25,
    "detection_regions_per_batch": 32,
    "detection_images_per_batch": 4,
    "detection_learning_rate": 0.02,
    "detection_dropout": 0.0,
}


@dataclass(frozen=True)
class Measured:
    """A root with a detection unit, and what it was made from."""

    root: Root
    config: RunConfig
    inputs: Inputs
    manifest: Manifest

    def scores(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = read_table(self.root, self.manifest.files["scores.parquet"]).to_pylist()
        return {(row["metric"], row["features"]): row for row in rows}


def _configured(voc: Path, **fields: Any) -> RunConfig:
    return RunConfig.model_validate({"evaluate": {**FIELDS, "voc": str(voc), **fields}})


def _commit_network(root: Root, seed: int) -> str:
    spec = NetworkSpec("small", 16, 32, 1)
    other = untrained_network(replace(spec, seed=seed))  # stands for a trained one
    files = {
        "weights.safetensors": safetensors.torch.save(other.state_dict()),
        "network.json": json.dumps(vars(spec)).encode(),
    }
    return commit(root, KeyDocument(Recipe("train", 1, parameters={"seed": seed})), files).key


def _run(root: Root, config: RunConfig, train: str) -> tuple[Measured, list[Outcome]]:
    units = list(proposal_units(config))
    outcomes = [run_unit(root, unit) for unit in units]
    inputs = Inputs(train=train, proposals=tuple(unit.key for unit in units))
    (unit,) = benchmark_units(config, inputs)
    outcome = run_unit(root, unit, device="cpu")
    return Measured(root, config, inputs, require_manifest(root, "evaluate", outcome.key)), outcomes


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("voc") / "VOC2007")


@pytest.fixture(scope="module")
def measured(voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    root = open_root(str(tmp_path_factory.mktemp("detection") / "root"))
    return _run(root, _configured(voc), _commit_network(root, 2))[0]


def test_shapes_are_found_by_networks_and_by_hand_made_features(measured: Measured) -> None:
    scores = measured.scores()
    for kind in KINDS:
        row = scores["mAP", kind]
        assert row["value"] > 0.5, kind
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["num_items"], row["num_clusters"], row["cluster"]) == (12, 12, "image")
        assert row["subset"] == "60 proposals"
        assert "mean over 2 of 3 classes: disc, square" in row["note"]
        classes = [scores[f"AP {name}", kind]["value"] for name in CLASSES]
        assert row["value"] == pytest.approx(np.mean(classes))
    metrics = {f"{metric}{form}" for metric in ("mAP", "AP disc", "AP square") for form in ("", ", 11 points")}
    assert {metric for metric, _ in scores} == {*metrics, "AP ghost"}
    apart = scores["mAP", "trained - untrained"]["value"]
    assert apart == pytest.approx(scores["mAP", "trained"]["value"] - scores["mAP", "untrained"]["value"])


def test_a_class_of_few_objects_gives_no_figure_and_says_so(measured: Measured, voc: Path, tmp_path: Path) -> None:
    ghost = measured.scores()["AP ghost", "trained"]
    assert ghost["value"] is None
    assert ghost["note"] == "no object to train on"
    config = _configured(voc, detection_test_images=5, detection_steps=1)
    scores = _run(measured.root, config, measured.inputs.train)[0].scores()
    assert set(scores) == {("mAP", "trained")}
    assert scores["mAP", "trained"]["note"].startswith("no class has 10 objects in the 5 test images")


def test_files_hold_the_best_detections_and_the_scores_of_all_regions(measured: Measured) -> None:
    detections = read_table(measured.root, measured.manifest.files["detections.parquet"]).to_pylist()
    regions = read_table(measured.root, measured.manifest.files["region_scores.parquet"])
    found = dict(read_proposals(measured.root, measured.inputs.proposals, 60))
    assert regions.column_names == ["image", *KINDS]
    shares = {regions.schema.field(kind).type.value_type for kind in KINDS}
    assert shares == {pa.float32()}, "half as many bits would make one of all that a softmax is sure of"
    names = regions["image"].to_pylist()
    assert len(names) == 12
    for place, name in enumerate(names):
        for kind in KINDS:
            assert len(regions[kind][place]) == 3 * len(found[name])
    for kind in KINDS:
        for name in names:
            mine = [row for row in detections if (row["features"], row["image"]) == (kind, name)]
            scores = [row["score"] for row in mine]
            assert 0 < len(mine) <= 100
            assert scores == sorted(scores, reverse=True)
            boxes = [[x, y, x + width, y + height] for x, y, width, height in (row["box"] for row in mine)]
            assert all(min(np.abs(found[name] - box).max(axis=1)) < 1e-3 for box in boxes)
    curves = read_table(measured.root, measured.manifest.files["curves.parquet"]).to_pylist()
    assert {(row["features"], row["class"]) for row in curves} == {(kind, name) for kind in KINDS for name in CLASSES}
    for row in curves:
        assert row["recall"] == sorted(row["recall"])
        assert all(0 < each <= 1 for each in row["recall"] + row["precision"])
    pictures = read_table(measured.root, measured.manifest.files["pictures.parquet"]).to_pylist()
    assert len(pictures) == SHOWN_IMAGES * len(KINDS)
    assert decode_jpeg(pictures[0]["jpeg"]).shape == (64, 64, 3)
    shown = stored_pictures(measured.root, measured.manifest)
    assert [caption for caption, _ in shown[0][1]] == list(KINDS)
    plots = precision_recall("detection", read_table(measured.root, measured.manifest.files["curves.parquet"]))
    assert [plot.title for plot in plots] == [f"precision and recall, {name}" for name in CLASSES]


def test_a_second_network_finds_the_proposals_and_ensembles_with_the_first(measured: Measured, voc: Path) -> None:
    again, found = _run(measured.root, measured.config, _commit_network(measured.root, 3))
    assert all(outcome.cached for outcome in found)
    assert again.inputs.proposals == measured.inputs.proposals
    together = _ensemble(measured, again.manifest.key)
    assert {"mAP, model 1 of 2", "mAP, model 2 of 2", "mAP", "AP disc"} <= {metric for metric, _ in together}
    assert together["mAP", "trained"]["value"] > 0.5
    assert "2 models averaged" in together["mAP", "trained"]["note"]
    twice = _ensemble(measured, measured.manifest.key)
    for (metric, features), row in measured.scores().items():
        assert twice[metric, features]["value"] == row["value"], "the average of a model with itself"
        assert twice[metric, features]["low"] == row["low"]

    config = _configured(voc, detection_proposals=9, detection_steps=1)
    other = _run(measured.root, config, measured.inputs.train)[0]
    with pytest.raises(ValueError, match="differ in detection_proposals, so their regions are not the same"):
        _ensemble(measured, other.manifest.key)
    with pytest.raises(ValueError, match="needs two detection units or more"):
        _ensemble(measured)
    with pytest.raises(RootError, match="no evaluate unit"):
        _ensemble(measured, "0" * 64)


def _ensemble(measured: Measured, *others: str) -> dict[tuple[str, str], dict[str, Any]]:
    units, config = [measured.manifest.key, *others], measured.config
    document = ensemble_document(0, 100, units, "digest")
    assert document.key == ensemble_document(0, 100, units[::-1], "digest").key
    manifest = run_ensemble(measured.root, units, config.evaluate.voc, config.evaluate, 0, document)
    return replace(measured, manifest=manifest).scores()


def test_a_killed_run_goes_on_with_fine_tuning_and_ends_in_the_same_scores(voc: Path, tmp_path: Path) -> None:
    config = _configured(voc, detection_steps=6, detection_checkpoint_every_steps=2, detection_classifier="softmax")
    whole, killed = (open_root(str(tmp_path / name)) for name in ("whole", "killed"))
    train = _commit_network(whole, 2)
    assert _commit_network(killed, 2) == train
    measured, _ = _run(whole, config, train)
    units = list(proposal_units(config))
    for unit in units:
        run_unit(killed, unit)
    (unit,) = benchmark_units(config, Inputs(train=train, proposals=tuple(each.key for each in units)))
    steps: list[int] = []

    def progress(done: int, total: int, note: str = "") -> None:
        if note == "fine-tuning" and done:
            steps.append(done)
            if len(steps) == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_unit(killed, unit, device="cpu", progress=progress)
    (state,) = [name for name in killed.names(f"evaluate/{unit.key}/attempts") if name.startswith("state")]
    assert state.startswith("state-000000004-")
    run_unit(killed, unit, device="cpu", progress=progress)
    assert steps == [1, 2, 3, 4, 5, 5, 6]
    again = require_manifest(killed, "evaluate", unit.key)
    for name in ("scores.parquet", "region_scores.parquet", "detections.parquet"):
        assert again.files[name].sha256 == measured.manifest.files[name].sha256
    assert again.facts["losses"] == measured.manifest.facts["losses"], "of the steps before the kill too"
    assert killed.names(f"evaluate/{unit.key}/attempts") == [], "the state goes once the unit is committed"


def test_of_several_states_the_newest_whole_one_counts(tmp_path: Path) -> None:
    root, document = open_root(str(tmp_path)), KeyDocument(Recipe("evaluate", 1), {"train": "a" * 64})
    attempts = Attempts(root, document)
    assert attempts.newest() == (0, {})
    attempts.save(3, {"x": torch.ones(2)})
    folder = f"evaluate/{document.key}/attempts"
    root.write_bytes(f"{folder}/state-000000009-{'0' * 16}.safetensors", b"cut short")
    step, state = attempts.newest()
    assert (step, state["x"].tolist()) == (3, [1, 1])
    attempts.save(12, {"x": torch.zeros(2)})
    assert len(root.names(folder)) == 2
    assert attempts.newest()[0] == 12
    attempts.clear()
    assert root.names(folder) == []


def test_fewer_images_are_among_more_and_full_units_stay(voc: Path) -> None:
    few = read_setting(_configured(voc, detection_train_images=4).evaluate, voc, 0)
    more = read_setting(_configured(voc, detection_train_images=9).evaluate, voc, 0)
    assert len(few.train) == 4
    assert few.train < more.train
    assert few.test == more.test
    assert few.subset == "4 of 12 training images, 60 proposals"
    assert read_setting(_configured(voc, detection_train_images=4).evaluate, voc, 1).train != few.train


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "VOC2007", num_train=3, num_test=4)


def test_what_is_damaged_is_left_out_and_counted(broken: Path, tmp_path: Path) -> None:
    (broken / "JPEGImages/000000.jpg").write_bytes(b"no image")
    (broken / "JPEGImages/000003.jpg").unlink()
    (broken / "Annotations/000001.xml").write_text("<annotation><object/>")
    (broken / "Annotations/000004.xml").write_text(
        annotation_xml([object_xml("disc", 90, 90, 99, 99), object_xml("square", 1, 1, 30, 30, difficult=1)])
    )
    root = open_root(str(tmp_path / "root"))
    measured, outcomes = _run(root, _configured(broken, detection_steps=1), _commit_network(root, 2))
    assert [outcome.counts["images_unreadable"] for outcome in outcomes] == [1, 1]
    counts = {"images_train": 1, "images_test": 3, "annotations_unreadable": 1, "boxes_outside": 1}
    counts["images_unreadable"] = 2
    assert measured.manifest.counts == counts


def test_what_leaves_nothing_to_measure_is_named_in_one_line(broken: Path, tmp_path: Path) -> None:
    messages = []
    with pytest.raises(ValueError, match="nowhere") as caught:
        list(proposal_units(_configured(tmp_path / "nowhere")))
    messages.append(str(caught.value))
    for fields, words in (
        ({"detection_train_split": "val"}, r"val\.txt.*: test, trainval"),
        ({"detection_test_split": "trainval"}, "holds 3 images of 'trainval'.*without a common image"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            list(proposal_units(_configured(broken, **fields)))
        messages.append(str(caught.value))
    root = open_root(str(tmp_path / "root"))
    train = _commit_network(root, 2)
    for name in ("000000", "000001", "000002"):
        (broken / f"Annotations/{name}.xml").write_text(annotation_xml([]))
    with pytest.raises(ValueError, match="no object in 3 training images") as caught:
        _run(root, _configured(broken), train)
    messages.append(str(caught.value))
    (broken / "Annotations/000000.xml").write_text(annotation_xml([object_xml("disc", 1, 1, 30, 30)]))
    for number in range(3, 7):
        (broken / f"Annotations/{number:06}.xml").unlink()
    with pytest.raises(ValueError, match=r"no test image .* can be used; 4 annotations unreadable") as caught:
        _run(root, _configured(broken, detection_steps=1), train)
    messages.append(str(caught.value))
    with pytest.raises(ValueError, match=r"detection_learning_rate: fine-tuning of the trained network diverged"):
        _run(root, _configured(broken, detection_steps=3, detection_learning_rate=1e30), train)
    assert not any("\n" in message for message in messages)


def test_detection_runs_by_request_and_its_proposals_ask_for_little() -> None:
    assert "detection" in BENCHMARKS
    assert "detection" not in EvaluateConfig().benchmarks
    assert list(proposal_units(RunConfig.model_validate({"evaluate": {"voc": "unread"}}))) == []


def test_what_changes_proposals_and_what_only_the_detectors(voc: Path) -> None:
    def keys(**fields: Any) -> tuple[list[str], str]:
        config = _configured(voc, **fields)
        proposals = [unit.key for unit in proposal_units(config)]
        (unit,) = benchmark_units(config, Inputs(train="a" * 64, proposals=tuple(proposals)))
        return proposals, unit.key

    proposals, unit = keys()
    for fields in ({"detection_steps": 9}, {"detection_proposals": 7}, {"detection_classifier": "softmax"}):
        assert keys(**fields)[0] == proposals
        assert keys(**fields)[1] != unit
    for fields in ({"detection_search_px": 50}, {"detection_test_images": 5}):
        assert keys(**fields)[0] != proposals
        assert keys(**fields)[1] != unit
