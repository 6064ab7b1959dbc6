"""Surface normals over small folders in every layout: what is read, figures against slow ones, and a whole run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest
from storage.tables import read_table
from tasks.evaluate.angles import THRESHOLDS, statistics, summarise
from tasks.evaluate.benchmark import run_benchmark
from tasks.evaluate.codewords import CODEWORDS, GRID, UNKNOWN, cell_normals, classes_of, codebook, decoded, unit
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fitting import Samples, batches, fit
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.nyu import Views, axes_order, find_views, read_view
from tasks.networks.images import to_tensor
from tasks.networks.pictures import Unreadable
from tasks.networks.weights import NetworkSpec, untrained_network
from tasks.world.config import WorldConfig
from tasks.world.nyu import write_nyu

WORLD = WorldConfig(width=64, height=48, num_frames=3, num_objects=2)
CONFIG = EvaluateConfig(
    bootstrap_samples=100, normals_steps=5, normals_batch_images=2, normals_hidden=16, normals_learning_rate=0.003
)
KINDS = ("trained", "untrained", "by_place", "constant")
ORDER = axes_order("x z -y")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Six images of the generated world, and their exact normals."""
    folder = tmp_path_factory.mktemp("world")
    frames = write_nyu(folder, WORLD, seed=5, count=6)
    return folder, [frame.normals for frame in frames]


def _run(finished: Any, folder: Path, **fields: Any) -> Manifest:
    inputs = Inputs(train=finished.train, data=str(folder))
    document = KeyDocument(Recipe("evaluate", 1), inputs={"folder": str(folder), "fields": str(fields)})
    config = CONFIG.model_copy(update=fields)
    return run_benchmark(finished.root, "normals", inputs, config, 0, document, device="cpu")


def test_a_run_over_the_generated_world(finished: Any, world: tuple[Path, list[np.ndarray]]) -> None:
    folder, true = world
    manifest = _run(finished, folder)
    assert manifest.files["scores.parquet"] == _run(finished, folder).files["scores.parquet"]
    rows = read_table(finished.root, manifest.files["scores.parquet"]).to_pylist()
    scores = {(row["metric"], row["features"]): row for row in rows}
    metrics = ["mean angle", "median angle", "RMSE", "below 11.25°", "below 22.5°", "below 30°"]
    assert list(dict.fromkeys(metric for metric, _ in scores)) == metrics
    assert {kind for _, kind in scores} == {*KINDS, *(f"trained - {kind}" for kind in KINDS[1:])}
    assert [scores[metric, "trained"]["unit"] for metric in metrics] == ["degrees"] * 3 + ["share"] * 3
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["num_items"], row["cluster"]) == (2, "image")
        assert row["subset"].startswith(
            "2 test and 4 training images (the first two thirds of each folder for training)"
        )
    # The constant by hand: the mean normal of the first four images, and its angles to all pixels of the last two.
    mean = np.concatenate([one.reshape(-1, 3) for one in true[:4]]).mean(axis=0)
    cosines = np.concatenate([one.reshape(-1, 3) for one in true[4:]]) @ (mean / np.linalg.norm(mean))
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    assert scores["mean angle", "constant"]["value"] == pytest.approx(angles.mean(), abs=0.3)  # 8 bits a channel
    assert scores["median angle", "constant"]["value"] == pytest.approx(np.median(angles), abs=0.5)
    assert scores["RMSE", "constant"]["value"] == pytest.approx(np.sqrt((angles**2).mean()), abs=0.3)
    assert scores["below 30°", "constant"]["value"] == pytest.approx((angles < 30).mean(), abs=0.02)
    assert manifest.counts == {"images_test": 2, "images_train": 4}
    pictures = read_table(finished.root, manifest.files["pictures.parquet"]).to_pylist()
    assert [row["features"] for row in pictures] == ["image", "truth", *KINDS[:3]] * 2
    for row in pictures:
        assert cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (48, 64, 3)
        assert (row["mean_angle"] is None) == (row["features"] in ("image", "truth"))


def test_what_is_seen_is_learned_and_equal_fits_are_equal() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, ::4], images[1, :, ::2] = (255, 0, 0), (0, 0, 255)
    classes = np.full((2, 2, GRID, GRID), UNKNOWN)
    classes[0], classes[1], classes[:, :, 4, 6] = 3, 7, UNKNOWN
    network = untrained_network(NetworkSpec("small", 16, 32, 0))
    before = copy.deepcopy(network.state_dict())

    def scores() -> torch.Tensor:
        model = fit(
            network,
            Samples(images, classes),
            hidden=256,
            steps=40,
            batch_images=4,
            learning_rate=0.003,
            seed=0,
            device=torch.device("cpu"),
            progress=lambda done, total: None,
        )
        with torch.inference_mode():
            found: torch.Tensor = model(to_tensor(images))
        return found

    first = scores()
    torch.testing.assert_close(first, scores(), rtol=0, atol=0)
    assert (first.argmax(dim=1).numpy() == classes[:, 0])[classes[:, 0] != UNKNOWN].mean() > 0.95
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items()), "a copy is trained"


def test_mirrored_images_come_with_mirrored_classes() -> None:
    columns = np.arange(GRID, dtype=np.uint8)
    images = np.broadcast_to(columns[None, None, :, None], (1, GRID, GRID, 3))
    plain = np.broadcast_to(columns.astype(np.int64), (1, GRID, GRID))
    samples = Samples(images, np.stack([plain, plain[:, :, ::-1]], axis=1))
    drawn, classes = next(batches(samples, 16, seed=0))
    np.testing.assert_array_equal(drawn[..., 0], classes)
    assert {int(row[0, 0]) for row in classes} == {0, GRID - 1}


def _layout(folder: Path, layout: str, sample: Path) -> str:
    """One sample of the generated world in one of the layouts; returns its name."""
    place = folder / "scene"
    colour, depth, normals = (
        cv2.imread(str(sample / f"{kind}000001.png"), -1) for kind in ("", "depth_gt_", "norm_gt_")
    )
    mask = np.zeros(depth.shape, np.uint8)
    mask[10:30, 20:40] = 255
    names = {
        "prefixed": ("{}.png", "depth_gt_{}.png", "norm_gt_{}.png", "mask_gt_{}.png"),
        "dotted": ("{}.color.png", "{}.depth.png", "{}.normals.png", "{}.mask.png"),
        "folders": ("rgb/{}.png", "depth/{}.png", "normals/{}.png", "mask/{}.png"),
    }[layout]
    for name, image in zip(names, (colour, depth, normals, mask), strict=True):
        path = place / name.format("room_7")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    camera = json.loads((sample / "intrinsics.json").read_text())["000001"]
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return "scene/room_7"


@pytest.mark.parametrize("layout", ["prefixed", "dotted", "folders"])
def test_every_layout_is_read(world: tuple[Path, list[np.ndarray]], tmp_path: Path, layout: str) -> None:
    sample, true = world
    name = _layout(tmp_path, layout, sample)
    (tmp_path / "train.txt").write_text("room_7\nnowhere\n")
    (tmp_path / "test.txt").write_text(f"{name}\n")
    views = find_views(tmp_path)
    assert views == Views(views.train, views.train, "train.txt and test.txt", 1)
    (view,) = views.test
    assert view.name == name
    observed = read_view(view, ORDER, 5)
    assert observed.known.sum() == 20 * 20
    np.testing.assert_allclose(observed.normals[observed.known], true[0][observed.known], atol=0.02)
    assert view.normals is not None
    view.normals.unlink()
    (view,) = find_views(tmp_path).test
    computed = read_view(view, ORDER, 5)
    assert np.median(np.abs(computed.normals[computed.known] - true[0][computed.known])) < 0.02


@pytest.mark.parametrize("axes", ["x y z", "-x -y -z", "x z -y", "-x -z y", "z -x y"])
@pytest.mark.parametrize("bits", [8, 16])
def test_both_conventions_and_any_axes_are_decoded(
    world: tuple[Path, list[np.ndarray]], tmp_path: Path, axes: str, bits: int
) -> None:
    sample, true = world
    encoded = np.stack(
        [true[0][..., "xyz".index(word[-1])] * (-1 if "-" in word else 1) for word in axes.split()], axis=2
    )
    half = (2**bits - 1) / 2
    (tmp_path / "rgb").mkdir()
    (tmp_path / "normals").mkdir()
    cv2.imwrite(str(tmp_path / "rgb/a.jpg"), cv2.imread(str(sample / "000001.png")))
    image = np.rint((encoded + 1) * half).astype(np.uint8 if bits == 8 else np.uint16)
    image[0, :5], image[0, 5:9] = 0, round(half)
    cv2.imwrite(str(tmp_path / "normals/a.png"), np.ascontiguousarray(image[..., ::-1]))
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("a")
    observed = read_view(find_views(tmp_path).test[0], axes_order(axes), 5)
    assert not observed.known[0, :9].any()
    assert observed.known[1:].all()
    np.testing.assert_allclose(observed.normals[1:], true[0][1:], atol=0.01)


def test_figures_equal_those_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    images = [rng.gamma(2, 12, size).clip(0, 180) for size in (500, 80, 1200)]
    figures = statistics([summarise(one) for one in images])
    drawn = np.array([2, 0, 1])
    pixels = np.concatenate([images[0], images[0], images[2]])
    assert figures["mean angle"](drawn) == pytest.approx(pixels.mean())
    assert figures["RMSE"](drawn) == pytest.approx(np.sqrt((pixels**2).mean()))
    assert figures["median angle"](drawn) == pytest.approx(np.median(pixels), abs=0.05)
    for threshold in THRESHOLDS:
        assert figures[f"below {threshold:g}°"](drawn) == pytest.approx((pixels < threshold).mean())


def test_codewords_and_back() -> None:
    rng = np.random.default_rng(0)
    true = unit(rng.normal(size=(CODEWORDS, 3)).astype(np.float32))
    words = codebook(true.repeat(30, axis=0), seed=0)
    assert np.sort((words @ true.T).max(axis=1))[0] == pytest.approx(1, abs=1e-4)
    cells = words[rng.integers(CODEWORDS, size=(GRID, GRID))]
    cells[3, 4] = 0
    classes = classes_of(cells, words)
    assert classes[3, 4] == UNKNOWN
    np.testing.assert_array_equal(words[classes[5]], cells[5])
    shares = np.eye(CODEWORDS, dtype=np.float32)[classes.clip(0)]
    big = decoded(shares, words, (GRID * 8, GRID * 12))
    np.testing.assert_allclose(np.linalg.norm(big, axis=2), 1, rtol=1e-5)
    known = np.ones(big.shape[:2], bool)
    known[24:32, 48:60] = False
    back = cell_normals(big, known)
    assert not back[3, 4].any()
    assert np.median((back * cells).sum(axis=2)) > 0.9
    # Two words in equal parts give the direction between them.
    shares[:] = 0
    shares[..., 0] = shares[..., 1] = 0.5
    np.testing.assert_allclose(decoded(shares, words, (4, 4))[0, 0], unit(words[0] + words[1]), atol=1e-5)


def test_single_bad_images_are_left_out_and_counted(
    finished: Any, world: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    write_nyu(tmp_path, WORLD, seed=5, count=6)
    (tmp_path / "000002.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    cv2.imwrite(str(tmp_path / "norm_gt_000005.png"), np.zeros((48, 64, 3), np.uint8))
    manifest = _run(finished, tmp_path, normals_steps=1)
    assert manifest.counts == {"images_test": 1, "images_train": 3, "images_unreadable": 2}
    rows = read_table(finished.root, manifest.files["scores.parquet"]).to_pylist()
    assert all(row["low"] is None and "one image: no interval" in row["note"] for row in rows)


def test_folders_that_cannot_be_used_are_named_in_one_line(finished: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bad_camera = tmp_path / "bad"
    write_nyu(bad_camera, WORLD, seed=5, count=2)
    (bad_camera / "intrinsics.json").write_text('{"000001": {"fx": -1}}')
    unusable = tmp_path / "unusable"
    write_nyu(unusable, WORLD, seed=5, count=3)
    for path in unusable.glob("norm_gt_*"):
        path.write_bytes(b"")
    whole = tmp_path / "whole"
    write_nyu(whole, WORLD, seed=5, count=3)
    cases: list[tuple[Path, str, dict[str, Any]]] = [
        (tmp_path / "nowhere", "is no folder; name a folder in the format of NYUv2", {}),
        (empty, "holds no training image with normals or depth, of 0 in all", {}),
        (bad_camera, r"intrinsics\.json' tells no fx, fy, cx and cy", {}),
        (unusable, "holds no usable training image", {}),
        (whole, r"evaluate\.normals_axes: 'x y y'; name what", {"normals_axes": "x y y"}),
        (whole, r"evaluate\.normals_learning_rate: 1e\+30 is too high", {"normals_learning_rate": 1e30}),
    ]
    for folder, words, fields in cases:
        with pytest.raises(ValueError, match=words) as caught:
            _run(finished, folder, **fields)
        assert "\n" not in str(caught.value)


def test_depth_without_a_camera_is_no_view_of_a_room(tmp_path: Path) -> None:
    write_nyu(tmp_path, WORLD, seed=5, count=3)
    (tmp_path / "intrinsics.json").unlink()
    for path in tmp_path.glob("norm_gt_*"):
        path.unlink()
    with pytest.raises(Unreadable, match=r"no intrinsics\.json or camera-intrinsics\.txt"):
        read_view(find_views(tmp_path).test[0], ORDER, 5)


def test_published_normals_agree_with_those_of_their_depth(shared_data: Path) -> None:
    """So the axes of the published file are what the defaults say, and both are right."""
    views = find_views(shared_data / "nyu")
    assert (len(views.train), len(views.test)) == (22, 11)
    view = next(one for one in (*views.train, *views.test) if one.normals is not None)
    published = read_view(view, axes_order(EvaluateConfig().normals_axes), 15)
    computed = read_view(view.__class__(view.name, view.colour, None, view.depth, None, None), ORDER, 15)
    both = published.known & computed.known
    assert both.mean() > 0.5
    cosines = (published.normals * computed.normals).sum(axis=2)[both]
    assert np.median(cosines) > np.cos(np.radians(8))
