"""Frames by index and square crops, against whole decoding and NumPy's own padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from storage.manifests import video_path
from tasks.evaluate.frames import local_video, read_frames, square_crop
from tasks.evaluate.hog import hog_features
from tasks.evaluate.labels import Label, sample_labels
from tasks.evaluate.neighbours import choose_queries
from tasks.evaluate.pictures import draw_track


def test_named_frames_are_those_of_a_whole_decode(finished: Any) -> None:
    video = next(iter(finished.splits))
    with local_video(finished.root, video) as path:
        with av.open(str(path)) as container:
            every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        found = dict(read_frames(path, {7, 0, 3, 999}))
    assert sorted(found) == [0, 3, 7]
    for index, frame in found.items():
        np.testing.assert_array_equal(frame, every[index])


def test_what_is_no_video_gives_no_frames(finished: Any, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>not a video</html>")
    assert list(read_frames(tmp_path / "page", {0})) == []
    whole = finished.root.read_bytes(video_path(next(iter(finished.splits))))
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    assert list(read_frames(tmp_path / "cut", {0, 10_000})) in ([], list(read_frames(tmp_path / "cut", {0})))


@pytest.mark.parametrize("box", [(10, 8, 6, 6), (-5, -4, 12, 9), (35, 25, 10, 10), (0, 0, 40, 30), (-30, -30, 20, 20)])
def test_crops_reflect_the_frame_as_numpy_pads_it(box: tuple[float, float, float, float]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    side = round(1.2 * max(box[2:]))
    padded = np.pad(frame, ((100, 100), (100, 100), (0, 0)), mode="reflect")
    left, top = round(box[0] + box[2] / 2 - side / 2) + 100, round(box[1] + box[3] / 2 - side / 2) + 100
    expected = padded[top : top + side, left : left + side]
    np.testing.assert_array_equal(square_crop(frame, box, 1.2, side), expected)
    assert square_crop(frame, box, 1.2, 64).shape == (64, 64, 3)


def test_hog_has_its_size_and_sees_orientation_and_colour() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = 255
    turned = np.ascontiguousarray(stripes.transpose(1, 0, 2))
    red = np.full((48, 48, 3), (255, 0, 0), np.uint8)
    features = [hog_features(each[None])[0] for each in (stripes, turned, red)]
    assert all(each.shape == (372,) and each.dtype == np.float32 for each in features)
    assert np.abs(features[0][:324] - features[1][:324]).max() > 0.1
    np.testing.assert_allclose(features[2][324:].reshape(16, 3), [[1, 0, 0]] * 16)


def test_samples_of_labels_depend_on_the_video_alone_and_keep_all_objects() -> None:
    labels = [Label("ab" * 32, frame, name, (0, 0, 9, 9)) for frame in range(60) for name in "vwxyz"]
    drawn = sample_labels(labels, 60, seed=1)
    assert drawn == sample_labels(list(labels), 60, seed=1)
    assert len(drawn) == 60
    assert {label.name for label in drawn} == set("vwxyz")
    assert drawn != sample_labels(labels, 60, seed=2)
    assert sample_labels(labels[:3], 60, seed=1) == labels[:3]


def test_queries_take_turns_over_strata_and_clusters() -> None:
    strata, clusters = np.repeat(np.arange(4), 25), np.tile(np.arange(5), 20)
    chosen = choose_queries(strata, clusters, seed=0)
    assert len(set(chosen)) == 8
    assert sorted(strata[chosen].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert set(clusters[chosen].tolist()) == set(range(5))
    assert choose_queries(strata[:2], clusters[:2], seed=0) in ([0, 1], [1, 0])


def test_a_drawn_track_marks_its_box_and_leaves_the_frame_alone() -> None:
    frame = np.full((120, 160, 3), 128, np.uint8)
    before = frame.copy()
    drawn = draw_track(frame, [(20.0, 20.0, 30.0, 30.0), (60.0, 40.0, 30.0, 30.0)], 1, 80)
    np.testing.assert_array_equal(frame, before)
    assert drawn.shape == (60, 80, 3)
    assert (drawn[20, 30:45] != 128).any()
    assert (drawn[50:, 60:] == 128).all()
    assert cv2.absdiff(drawn, np.full_like(drawn, 128)).max() > 60
