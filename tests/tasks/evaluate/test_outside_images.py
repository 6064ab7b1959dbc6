"""Benchmarks of outside images, VOC's and sets of labelled ones, on small drawn ones; and what is wrong with them."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from storage.manifests import Manifest
from storage.tables import read_table
from tasks.evaluate import DATA
from tasks.evaluate.average_precision import FALSE, IGNORED, TRUE
from tasks.evaluate.benchmark import run_benchmark
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.image_sets import TEST, TRAIN, find_set, list_images, read_squares
from tasks.evaluate.inputs import Inputs, data_digest
from tasks.evaluate.key import key_document
from tasks.evaluate.voc_classification import labels_of
from tasks.voc import Box

PLAIN = ("trained", "untrained", "hog", "colour", "pixels")
KINDS = {*PLAIN, *(f"trained - {other}" for other in PLAIN[1:])}
LAYERS = (*(f"conv{number}" for number in range(1, 5)), "fc1", "embedding")
SPLITS = {"trainval": 40, "test": 32}
_BOX = (
    "<object><name>{}</name><difficult>{}</difficult>"
    "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def _picture(name: str, seed: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image of 56 x 48 px with a shape of 24 px, and the shape's box as VOC has it."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 70, (48, 56, 3), dtype=np.uint8)
    x, y = int(rng.integers(14, 40)), int(rng.integers(14, 34))
    colour = rng.integers(160, 255, 3).tolist()
    if name == "disc":
        cv2.circle(image, (x, y), 12, colour, -1)
    else:
        cv2.rectangle(image, (x - 12, y - 3), (x + 12, y + 3), colour, -1)
    return image, (x - 11, y - 11, x + 13, y + 13)


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs and bars in turn; the first image of each split also holds a ring, and a small and a difficult disc."""
    devkit = tmp_path_factory.mktemp("voc") / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (devkit / folder).mkdir(parents=True)
    number = 0
    for split, size in SPLITS.items():
        names = [f"{number + each:06d}" for each in range(size)]
        (devkit / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
        for place, image_name in enumerate(names):
            name = ("disc", "bar")[place % 2]
            image, edges = _picture(name, number)
            objects = _BOX.format(name, 0, *edges)
            if not place:
                objects += _BOX.format("ring", 0, 1, 1, 30, 30) + _BOX.format("disc", 0, 1, 1, 8, 30)
            if place == 1:
                objects += _BOX.format("disc", 1, 1, 1, 30, 30)
            size_told = "<size><width>56</width><height>48</height></size>"
            (devkit / "Annotations" / f"{image_name}.xml").write_text(f"<annotation>{size_told}{objects}</annotation>")
            (devkit / "JPEGImages" / f"{image_name}.jpg").write_bytes(_jpeg(image))
            number += 1
    return devkit


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of discs and bars below train and val."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(50):
        name = ("disc", "bar")[number % 2]
        place = folder / ("train" if number < 30 else "val") / name
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(_jpeg(_picture(name, number)[0]))
    return folder


def _run(finished: Any, name: str, data: Path, **fields: Any) -> Manifest:
    config = EvaluateConfig(bootstrap_samples=100, **{DATA[name]: str(data)}, **fields)
    inputs = Inputs(train=finished.train, data=str(data))
    document = key_document(name, config, 0, inputs, {DATA[name]: data_digest(config, DATA[name])})
    return run_benchmark(finished.root, name, inputs, config, 0, document, device="cpu")


def _scores(finished: Any, manifest: Manifest) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows by metric and kind of features."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in read_table(finished.root, manifest.files["scores.parquet"]).to_pylist():
        assert row["features"] not in found.setdefault(row["metric"], {}), "one row a metric and kind"
        found[row["metric"]][row["features"]] = row
    return found


def test_voc_is_classified_by_layer_and_by_class(finished: Any, voc: Path) -> None:
    manifest = _run(finished, "voc_classification", voc)
    scores = _scores(finished, manifest)
    forms = ("", ", 11 points")
    of_layers = {f"mAP, {layer}{form}" for layer in LAYERS for form in forms}
    of_all = {f"{metric}{form}" for metric in ("mAP", "mAP, 20-NN", "AP bar", "AP disc") for form in forms}
    assert set(scores) == of_layers | of_all | {"AP ring"}
    assert scores["AP ring"]["trained"]["value"] is None
    assert scores["AP ring"]["trained"]["note"] == "fewer than 10 test images with the class"
    for metric in of_layers | of_all:
        rows = scores[metric]
        assert set(rows) == (KINDS if metric in of_all else {"trained", "untrained", "trained - untrained"})
        assert all(row["num_clusters"] == 32 and row["cluster"] == "image" for row in rows.values())
        assert all(row["low"] <= row["high"] for row in rows.values())
    for form in forms:
        means = [scores[f"AP {name}{form}"]["hog"]["value"] for name in ("bar", "disc")]
        assert scores[f"mAP{form}"]["hog"]["value"] == pytest.approx(np.mean(means))
        assert scores[f"mAP{form}"]["hog"]["value"] > 0.9
        assert 0.4 < scores[f"mAP{form}"]["hog"]["chance"] < 0.7, "half of the images have the class"
    assert manifest.counts == {"images_train": 40, "images_test": 32, "images_unreadable": 0, "classes": 3}


def test_labels_of_images() -> None:
    box = [Box("cat", (0, 0, 9, 9), difficult) for difficult in (False, True)]
    other = Box("dog", (0, 0, 9, 9), False)
    labels = labels_of([[box[0], box[1]], [box[1], other], []], ["cat"])
    assert labels.tolist() == [[TRUE], [IGNORED], [FALSE]]


def test_objects_of_voc_are_retrieved(finished: Any, voc: Path) -> None:
    manifest = _run(finished, "voc_retrieval", voc, voc_retrieval_depth=7)
    scores = _scores(finished, manifest)
    assert set(scores) == {f"precision@7{name}" for name in ("", " bar", " disc", " ring")}
    assert scores["precision@7 ring"]["trained"]["note"] == "fewer than 10 queries of the class"
    whole = scores["precision@7"]
    assert set(whole) == KINDS
    assert whole["hog"]["value"] > 0.8 > whole["hog"]["chance"]
    assert (whole["hog"]["num_items"], whole["hog"]["num_clusters"]) == (33, 32), "two objects of one image go together"
    used = {"queries": 33, "gallery": 41, "queries_of_unknown_class": 0, "images_unreadable": 0}
    assert manifest.counts == used | {"boxes_difficult": 2, "boxes_small": 2}
    rows = read_table(finished.root, manifest.files["neighbours.parquet"]).to_pylist()
    queries = {row["query"]: row for row in rows if row["rank"] == 0}
    assert len(queries) == 8
    assert {row["rank"] for row in rows} == set(range(6))
    for row in rows:
        assert row["relevant"] == (row["label"] == queries[row["query"]]["label"])
        assert row["rank"] == 0 or int(row["video"]) < 40, "found in trainval"


def test_labelled_images_are_classified(finished: Any, pictures: Path) -> None:
    manifest = _run(finished, "image_classification", pictures)
    scores = _scores(finished, manifest)
    parts = ("", ", 20-NN", *(f", {layer}" for layer in LAYERS))
    assert set(scores) == {f"accuracy{part}" for part in parts}
    assert set(scores["accuracy"]) == KINDS
    assert set(scores["accuracy, conv1"]) == {"trained", "untrained", "trained - untrained"}
    assert scores["accuracy"]["hog"]["value"] > 0.9
    assert scores["accuracy"]["hog"]["chance"] == 0.5
    assert manifest.counts["images_test"] == scores["accuracy"]["hog"]["num_items"] == 20


def test_bad_images_are_left_out_and_counted(
    finished: Any, voc: Path, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    devkit, folder = tmp_path / "VOC2007", tmp_path / "pictures"
    shutil.copytree(voc, devkit)
    shutil.copytree(pictures, folder)
    (devkit / "JPEGImages" / "000003.jpg").write_bytes(b"none")
    (devkit / "Annotations" / "000045.xml").write_text("<annotation/>")
    path = devkit / "Annotations" / "000007.xml"
    path.write_text(path.read_text().replace("</annotation>", _BOX.format("bar", 0, 1, 1, 1e308, 30) + "</annotation>"))
    counts = [_run(finished, name, devkit).counts for name in ("voc_classification", "voc_retrieval")]
    assert [each["images_unreadable"] for each in counts] == [2, 2]
    assert counts[1]["boxes_outside"] == 1
    assert "000003.jpg' is no image" in caplog.text
    assert "000045.xml' tells no size" in caplog.text
    (folder / "train" / "disc" / "0.jpg").write_bytes(b"none")
    (folder / "val" / "ring").mkdir()
    shutil.copy(folder / "val" / "disc" / "30.jpg", folder / "val" / "ring" / "30.jpg")
    counts = _run(finished, "image_classification", folder).counts
    assert counts["images_unreadable"] == counts["images_of_unknown_class"] == 1


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("voc_classification", {"voc_classification_test_split": "val"}, "val.txt' cannot be read.*: test, trainval$"),
        ("voc_retrieval", {"voc_retrieval_query_split": "val"}, "val.txt' cannot be read; .*: test, trainval$"),
        (
            "voc_retrieval",
            {"voc_retrieval_query_split": "trainval"},
            "'trainval' .* share 40 images, such as 000000; give",
        ),
        ("voc_classification", {"voc_classification_test_split": "trainval"}, "'trainval' .* share 40 images"),
    ],
)
def test_wrong_splits_are_named_in_one_line(
    finished: Any, voc: Path, name: str, fields: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        _run(finished, name, voc, **fields)
    assert "\n" not in str(raised.value)


def test_a_devkit_that_is_none_is_named_in_one_line(finished: Any, voc: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trainval.txt' cannot be read; give a folder with Annotations"):
        _run(finished, "voc_classification", tmp_path)
    devkit = tmp_path / "VOC2007"
    shutil.copytree(voc, devkit)
    shutil.rmtree(devkit / "JPEGImages")
    with pytest.raises(ValueError, match=r"split 'trainval' of .* has 0 readable images; restore"):
        _run(finished, "voc_classification", devkit)
    with pytest.raises(ValueError, match=r"no object of split 'test' of .* can be cut"):
        _run(finished, "voc_retrieval", devkit)


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_zips_are_read_without_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {name: _picture(name, seed)[0] for seed, name in enumerate(("bar", "disc"))}
    good = {f"test/{name}/0.jpg": _jpeg(image) for name, image in images.items()}
    huge = bytearray(cv2.imencode(".png", images["bar"])[1].tobytes())
    huge[16:24] = (1 << 20).to_bytes(4) * 2
    bad = {
        "test/disc/bomb.jpg": bytes(2_000_000),
        "test/disc/huge.png": bytes(huge),
        "test/disc/text.jpg": b"text",
        "test/disc/short.jpg": good["test/disc/0.jpg"][:400],
        "../disc/up.jpg": good["test/disc/0.jpg"],
    }
    ignored = {"__MACOSX/disc/._0.jpg": b"", "test/disc/readme.txt": b"", "top.jpg": good["test/disc/0.jpg"]}
    path = _zip(tmp_path / "small_test_7.zip", good | bad | ignored)
    listed = list_images(path)
    assert {name for _, name in listed} == set(good | bad) - {"../disc/up.jpg"}
    assert {name for name, _ in listed} == {"bar", "disc"}
    monkeypatch.setattr("tasks.evaluate.image_sets._MOST_BYTES", 1_000_000)
    squares = dict(zip([name for _, name in listed], read_squares(path, [name for _, name in listed], 24), strict=True))
    assert {name for name, square in squares.items() if square is not None} == set(good)
    square = squares["test/bar/0.jpg"]
    assert square is not None
    whole = cv2.resize(images["bar"][:, 4:52], (24, 24), interpolation=cv2.INTER_AREA)
    assert np.abs(square.astype(int) - whole.astype(int)).mean() < 12, "the middle square, RGB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small_test_7.zip"]


def test_a_damaged_entry_is_left_out(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(2):
            archive.writestr(f"train/disc/{number}.jpg", _jpeg(_picture("disc", number)[0]))
    spoilt = bytearray(data.getvalue())
    spoilt[200] ^= 0xFF
    path = tmp_path / "train.zip"
    path.write_bytes(spoilt)
    squares = list(read_squares(path, [name for _, name in list_images(path)], 16))
    assert [square is None for square in squares] == [True, False]


def _nothing(folder: Path) -> None:
    pass


def _two_zips(folder: Path) -> None:
    for name in ("train_1.zip", "train_2.zip"):
        _zip(folder / name, {})


def _no_zip(folder: Path) -> None:
    (folder / "train.zip").write_bytes(b"none")
    _zip(folder / "test.zip", {})


def _flat(folder: Path) -> None:
    for role in ("train", "test"):
        (folder / role).mkdir()
        (folder / role / "1.jpg").write_bytes(b"")


def _one_class(folder: Path) -> None:
    for role in ("train", "test"):
        _zip(folder / f"{role}.zip", {"disc/1.jpg": b""})


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_nothing, "holds no train; give a folder with train and test"),
        (_two_zips, "holds 2 zips named 'train'; leave one"),
        (_no_zip, "train.zip' is no zip .*; give a folder"),
        (_flat, "train' holds no image in a folder of its class; give a folder"),
        (_one_class, "train.zip' holds the class 'disc' alone; give at least two"),
    ],
)
def test_images_that_cannot_be_used_are_named_in_one_line(
    finished: Any, tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=f"images: '.*{words}") as raised:
        _run(finished, "image_classification", tmp_path)
    assert "\n" not in str(raised.value)


def test_a_role_is_a_folder_before_a_zip(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    _zip(tmp_path / "any_train.zip", {})
    assert find_set(tmp_path, TRAIN).name == "any_train.zip"
    assert find_set(tmp_path, TEST).name == "val"
