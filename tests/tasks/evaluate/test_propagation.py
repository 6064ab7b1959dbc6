"""Label propagation over small folders in both layouts: scores, pictures, and what cannot be read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest
from storage.tables import read_table
from tasks.evaluate.benchmark import run_benchmark
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.davis import find_sequences, read_steps
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.propagation import METRICS
from tasks.world.davis import indexed_png

HEIGHT, WIDTH, FRAMES = 48, 64, 6
KINDS = ("trained", "untrained", "hog", "colour", "pixels", "copied")
CONFIG = EvaluateConfig(bootstrap_samples=100, propagation_side_px=64, propagation_radius=3)


def _scene(number: int, objects: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames of coloured squares that move over smooth noise by 2 px a frame, and their masks."""
    rng = np.random.default_rng(number)
    still = cv2.resize(rng.integers(60, 120, (6, 8, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    frames, masks = [], []
    for step in range(FRAMES):
        frame, mask = still.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        for each in range(objects):
            x, y = 4 + 2 * step + 24 * each, 10 + 4 * number
            frame[y : y + 16, x : x + 16] = [(250, 40, 40), (40, 250, 40)][each]
            mask[y : y + 16, x : x + 16] = each + 1
        frames.append(frame)
        masks.append(mask)
    return frames, masks


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences as DAVIS 2017 has them, one with two objects."""
    folder = tmp_path_factory.mktemp("davis")
    for number, name in enumerate(("one", "two-of-them")):
        images, annotations = (folder / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for step, (frame, mask) in enumerate(zip(*_scene(number, number + 1), strict=True)):
            cv2.imwrite(str(images / f"{step:05d}.jpg"), frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            (annotations / f"{step:05d}.png").write_bytes(indexed_png(mask))
    (folder / "ImageSets/2017").mkdir(parents=True)
    (folder / "ImageSets/2017/val.txt").write_text("one\ntwo-of-them\n")
    return folder


def _copy(davis: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(davis, tmp_path / "davis"))


def _run(finished: Any, folder: Path, seed: int = 0, **fields: Any) -> Manifest:
    inputs = Inputs(train=finished.train, data=str(folder))
    config = CONFIG.model_copy(update=fields)
    document = KeyDocument(Recipe("evaluate", 1, seed=seed), inputs={"folder": str(folder), "fields": str(fields)})
    return run_benchmark(finished.root, "propagation", inputs, config, seed, document, device="cpu")


def _table(finished: Any, manifest: Manifest, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(finished.root, manifest.files[name]).to_pylist()
    return rows


def test_scores_of_moving_squares(finished: Any, davis: Path) -> None:
    manifest = _run(finished, davis)
    scores = {(row["metric"], row["features"]): row for row in _table(finished, manifest, "scores.parquet")}
    assert {metric for metric, _ in scores} == set(METRICS)
    assert {kind for _, kind in scores} == {*KINDS, *(f"trained - {kind}" for kind in KINDS[1:])}
    for kind in KINDS:
        row = scores["J&F", kind]
        assert row["value"] == pytest.approx((scores["J", kind]["value"] + scores["F", kind]["value"]) / 2)
        assert (row["num_items"], row["num_clusters"], row["cluster"]) == (3, 2, "sequence")
        assert row["subset"] == "2 sequences, not all 30 of the set"
    # The first mask in every frame: a square of 16 px that has moved by d px overlaps by (16 - d) / (16 + d). Frames
    # 1 to 4 are scored, the first and the last are not. Of the two squares each is as far off.
    assert scores["J", "copied"]["value"] == pytest.approx(np.mean([(16 - d) / (16 + d) for d in (2, 4, 6, 8)]))
    assert scores["J", "colour"]["value"] > 0.75
    assert scores["J", "trained"]["value"] > scores["J", "copied"]["value"]
    assert manifest.counts == {"objects": 3, "sequences": 2}
    objects = _table(finished, manifest, "objects.parquet")
    assert len(objects) == 3 * len(KINDS)
    assert {row["frames"] for row in objects} == {FRAMES - 2}
    pictures = _table(finished, manifest, "pictures.parquet")
    assert {row["features"] for row in pictures} == {"truth", "trained", "untrained", "hog", "copied"}
    assert [row["place"] for row in pictures if row["features"] == "trained"] == ["first", "middle", "last"] * 2
    assert all(cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (HEIGHT, WIDTH, 3) for row in pictures)


def test_videos_with_masks_give_the_same_frames_and_objects(finished: Any, davis: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for number, name in enumerate(("one", "two-of-them")):
        frames, masks = _scene(number, 1)
        with av.open(str(tmp_path / "videos" / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=24)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.codec_context.qmin = stream.codec_context.qmax = 2
            for frame in frames[: FRAMES - number]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        (tmp_path / "masks" / name).mkdir(parents=True)
        for step, mask in enumerate(masks):
            cv2.imwrite(str(tmp_path / "masks" / name / f"{step:05d}.png"), mask * 255)
    sequences, whole = find_sequences(tmp_path, "val")
    assert not whole
    for number, sequence in enumerate(sequences):
        steps = list(read_steps(sequence))
        assert [step.name for step in steps] == [f"{step:05d}" for step in range(FRAMES)]
        assert [step.image is None for step in steps] == [False] * (FRAMES - 1) + [bool(number)], "a frame short"
        for step, frame, mask in zip(steps, *_scene(number, 1), strict=True):
            np.testing.assert_array_equal(step.mask, mask)  # 255 alone is the object
            assert step.image is None or np.abs(step.image.astype(int) - frame).mean() < 8
    manifest = _run(finished, tmp_path)
    assert manifest.counts == {"frames_unreadable": 1, "objects": 2, "sequences": 2}


def test_void_beside_objects_is_background(davis: Path, tmp_path: Path) -> None:
    folder = _copy(davis, tmp_path)
    path = folder / "Annotations/480p/one/00000.png"
    mask = _scene(0, 1)[1][0]
    path.write_bytes(indexed_png(np.where(mask == 1, mask, np.uint8(255))))
    sequences, _ = find_sequences(folder, "val")
    np.testing.assert_array_equal(next(iter(read_steps(sequences[0]))).mask, mask)


def test_what_cannot_be_read_is_left_out_and_counted(finished: Any, davis: Path, tmp_path: Path) -> None:
    folder = _copy(davis, tmp_path)
    (folder / "JPEGImages/480p/one/00002.jpg").write_bytes(b"\xff\xd8\xff half an image")
    (folder / "Annotations/480p/one/00003.png").write_bytes(b"no mask")
    cv2.imwrite(str(folder / "Annotations/480p/one/00004.png"), np.zeros((8, 8), np.uint8))
    (folder / "JPEGImages/480p/two-of-them/00000.jpg").unlink()
    (folder / "ImageSets/2017/val.txt").write_text("one\ntwo-of-them\nnowhere\n")
    manifest = _run(finished, folder)
    assert manifest.counts == {
        "frames_unreadable": 2,
        "masks_of_another_size": 1,
        "masks_unreadable": 1,
        "objects": 1,
        "sequences": 1,
        "sequences_left_out": 2,
    }
    rows = _table(finished, manifest, "objects.parquet")
    assert {(row["sequence"], row["frames"]) for row in rows} == {("one", 1)}


def test_folders_that_cannot_be_used_are_named_in_one_line(finished: Any, davis: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    half = tmp_path / "half"
    (half / "JPEGImages/480p").mkdir(parents=True)
    (half / "ImageSets/2017").mkdir(parents=True)
    (half / "ImageSets/2017/val.txt").write_text("one\n")
    strange = _copy(davis, tmp_path)
    (strange / "ImageSets/2017/val.txt").write_text("../one\n")
    broken = _copy(davis, tmp_path / "broken")
    shutil.rmtree(broken / "Annotations/480p/one")
    shutil.rmtree(broken / "Annotations/480p/two-of-them")
    cases: list[tuple[Path, str, dict[str, Any]]] = [
        (empty, "holds neither JPEGImages", {}),
        (half, r"Annotations/480p' is missing", {}),
        (strange, r"names '\.\./one', which is no sequence", {}),
        (broken, r"no sequence that can be scored \(2 sequences_left_out\)", {}),
        (davis, r"2017/minival\.txt' is missing; set evaluate\.propagation_split", {"propagation_split": "minival"}),
        (davis, "is no name of a split", {"propagation_split": "../val"}),
    ]
    for folder, words, fields in cases:
        with pytest.raises(ValueError, match=words) as caught:
            _run(finished, folder, **fields)
        assert "\n" not in str(caught.value)


def test_the_seed_decides_the_pictures_and_equal_units_are_equal(finished: Any, davis: Path, tmp_path: Path) -> None:
    folder = _copy(davis, tmp_path)
    lists = folder / "ImageSets/2017/val.txt"
    names = ["one", *(f"one-{number}" for number in range(5))]
    for name in names[1:]:
        for kind in ("JPEGImages", "Annotations"):
            shutil.copytree(folder / kind / "480p/one", folder / kind / "480p" / name)
    lists.write_text("\n".join(names))
    few = {"propagation_side_px": 32, "propagation_frames": 0}
    first, again, other = _run(finished, folder, **few), _run(finished, folder, **few), _run(finished, folder, 1, **few)
    assert first.files["scores.parquet"] == again.files["scores.parquet"]
    shown = [{row["sequence"] for row in _table(finished, one, "pictures.parquet")} for one in (first, other)]
    assert [len(one) for one in shown] == [4, 4]
    assert shown[0] != shown[1]


def test_the_real_sequences_are_read(shared_data: Path) -> None:
    sequences, _ = find_sequences(shared_data / "davis", "val")
    assert len(sequences) == 10
    sequence = min(sequences, key=lambda one: len(one.masks))
    steps = [step for step, _ in zip(read_steps(replace(sequence)), range(3), strict=False)]
    assert all(step.image is not None and step.mask is not None for step in steps)
    assert all(step.image.shape[:2] == step.mask.shape and set(np.unique(step.mask)) == {0, 1} for step in steps)
