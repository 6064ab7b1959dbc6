"""The boxes of a VOC devkit as a folder of labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.folder import images_digest
from tasks.train.voc import cut_boxes
from tasks.voc import CONTEXT, Box, cut_square, image_names, read_annotation, read_boxes

_OBJECT = (
    "<object><name>{name}</name><part><name>head</name></part><difficult>{difficult}</difficult>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Two images of 100 x 60 px whose pixels say where they are, with four boxes."""
    folder = tmp_path / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("000001\n000002\n")
    rows, columns = np.mgrid[:60, :100].astype(np.uint8)
    image = cv2.imencode(".jpg", np.stack([rows, columns, rows * 0], axis=2), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    for name, boxes in (
        ("000001", [("cat", 0, (41, 21, 60, 40)), ("tv monitor", 0, (1, 1, 30, 40.7)), ("cat", 1, (1, 1, 40, 40))]),
        ("000002", [("cat", 0, (5, 5, 95, 55)), ("cat", 0, (5, 5, 12, 55))]),
    ):
        found = "".join(_OBJECT.format(*edges, name=label, difficult=hard) for label, hard, edges in boxes)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{found}</annotation>")
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(image.tobytes())
    return folder


def test_boxes_become_images_by_class(devkit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cut_boxes(devkit, "val", out) == (Counter({"cat": 2, "tv monitor": 1}), Counter(difficult=1, small=1))
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.jpg"))
    assert files == ["cat/000001-0.jpg", "cat/000002-0.jpg", "tv monitor/000001-1.jpg"]
    square = cv2.imread(str(out / files[0]))
    assert square is not None
    assert square.shape == (24, 24, 3), "20 px and a rim"
    assert abs(int(square[0, 0, 0]) - 18) <= 3
    assert abs(int(square[0, 0, 1]) - 38) <= 3
    with_difficult, _ = cut_boxes(devkit, "val", tmp_path / "more", difficult=True)
    assert with_difficult["cat"] == 3
    cut_boxes(devkit, "val", tmp_path / "again")
    assert images_digest(str(tmp_path / "again")) == images_digest(str(out)), "equal boxes are an equal key"


@given(st.tuples(*[st.floats(-50, 250)] * 2), st.tuples(*[st.floats(1, 200)] * 2))
def test_a_square_lies_in_its_image_and_holds_the_box(corner: tuple[float, float], size: tuple[float, float]) -> None:
    rows, columns = np.mgrid[:90, :140].astype(np.uint8)
    image = np.stack([rows, columns, columns], axis=2)
    (left, top), (width, height) = corner, size
    square = cut_square(image, Box("cat", (left, top, left + width, top + height), difficult=False))
    side = round(max(width, height) * CONTEXT)
    assert square.shape[:2] == (min(side, 90), min(side, 140))
    if 0 <= left <= left + width <= 140 and 0 <= top <= top + height <= 90 and side <= 90:
        assert square[0, 0, 0] <= top + 1, "to half a pixel on each side"
        assert square[0, 0, 1] <= left + 1
        assert square[-1, -1, 0] >= min(89, top + height - 2)
        assert square[-1, -1, 1] >= min(139, left + width - 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no element found"),
        ("<annotation><object></annotation>", "mismatched tag"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "EntitiesForbidden"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "EntitiesForbidden"),
        (_OBJECT.format(1, 1, 9, 9, name="../../up", difficult=0), r"class '\.\./\.\./up'"),
        (_OBJECT.format(1, 1, 9, 9, name=".", difficult=0), r"class '\.'"),
        (_OBJECT.format(1, "nan", 9, 9, name="cat", difficult=0), "a box of cat without numbers"),
        (_OBJECT.format(1, "left", 9, 9, name="cat", difficult=0), "could not convert"),
        ("<object><name>cat</name></object>", "could not convert"),
    ],
)
def test_annotations_that_are_none_are_told_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "000001.xml"
    path.write_text(f"<annotation>{text}</annotation>" if text.startswith("<object>") else text)
    with pytest.raises(ValueError, match=f"voc: '.*000001.xml' is no VOC annotation .*{words}") as raised:
        read_boxes(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "ImageSets" / "Main" / "val.txt").unlink(), "val.txt' cannot be read; give a folder"),
        (lambda folder: (folder / "ImageSets" / "Main" / "val.txt").write_text("../../x\n"), "'../../x', which is no"),
        (lambda folder: (folder / "Annotations" / "000002.xml").unlink(), "000002.xml' is no VOC annotation"),
        (lambda folder: (folder / "JPEGImages" / "000002.jpg").write_text("none"), "000002.jpg' is no image"),
        (lambda folder: (folder / "JPEGImages" / "000002.jpg").unlink(), "000002.jpg' is no image"),
    ],
)
def test_a_devkit_with_a_hole_names_it(devkit: Path, spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    spoil(devkit)
    with pytest.raises(ValueError, match=words) as raised:
        cut_boxes(devkit, "val", tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_a_missing_split_names_those_there_are(devkit: Path) -> None:
    (devkit / "ImageSets" / "Main" / "train.txt").write_text("000001\n")
    (devkit / "ImageSets" / "Main" / "cat_train.txt").write_text("000001 1\n")
    with pytest.raises(ValueError, match=r"voc: '.*test.txt' cannot be read; .* one of its splits: train, val$"):
        image_names(devkit, "test")


def test_an_annotation_tells_the_size_of_its_image(devkit: Path) -> None:
    path = devkit / "Annotations" / "000001.xml"
    with pytest.raises(ValueError, match=r"voc: '.*000001.xml' tells no size of its image; restore it"):
        read_annotation(devkit, "000001")
    size = "<size><width>100</width><height>60</height></size>"
    path.write_text(path.read_text().replace("<annotation>", f"<annotation>{size}"))
    annotation = read_annotation(devkit, "000001")
    assert (annotation.width, annotation.height, annotation.boxes) == (100, 60, read_boxes(path))
