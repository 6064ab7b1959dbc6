"""Labelled images of a folder: listed, digested, read, and learnt from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, read_file
from storage.root import Root
from storage.tables import read_table
from tasks.networks.building import build_network
from tasks.networks.images import to_tensor
from tasks.networks.pictures import read_picture
from tasks.networks.weights import load_network
from tasks.records import Dropped
from tasks.train.augment import NUM_DRAWS, decode_patch
from tasks.train.checkpoint import find_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.continuing import require_continuable
from tasks.train.data import iterate_batches, read_batch
from tasks.train.folder import images_digest, list_images
from tasks.train.images import ImageTable, load_images
from tasks.train.job import Job
from tasks.train.launch import train_network
from tasks.train.loop import train
from tasks.train.metrics import Metrics
from tasks.train.negatives import other_groups
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.objective import Inputs
from tests.tasks.train.shapes import CLASSES, write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes")


def test_a_subfolder_is_a_class(shapes: Path) -> None:
    (shapes / ".cache").mkdir()
    (shapes / "README.txt").write_text("of the images")
    (shapes / "bar" / "notes.txt").write_text("no image")
    (shapes / "bar" / ".hidden.jpg").write_bytes(b"")
    (shapes / "bar" / "folder.jpg").mkdir()
    found = list_images(str(shapes))
    assert found.classes == CLASSES
    assert found.files[1] == (
        "bar/000.jpg", "bar/001.png", "bar/003.png", "bar/004.jpg", "bar/006.jpg", "bar/007.png",
        "bar/more/002.jpg", "bar/more/005.png",
    )  # fmt: skip
    table = _table(shapes)
    assert table.groups.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert table.facts == {"classes": list(CLASSES)}


def test_links_to_classes_and_images_are_followed(shapes: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for label in CLASSES:
        (linked / label).symlink_to(shapes / label)
    assert images_digest(str(linked)) == images_digest(str(shapes))


def test_digest_is_of_names_and_bytes_and_not_of_the_place(shapes: Path, tmp_path: Path) -> None:
    first = images_digest(str(shapes))
    copy = shutil.copytree(shapes, tmp_path / "elsewhere" / "copy")
    assert images_digest(str(copy)) == images_digest(f"{copy}/") == first
    image = copy / "ball" / "000.jpg"
    digests = {first}
    for change in (
        lambda: image.write_bytes(image.read_bytes() + b"\0"),
        lambda: image.rename(copy / "ball" / "renamed.jpg"),
        lambda: (copy / "ball" / "renamed.jpg").rename(copy / "bar" / "renamed.jpg"),
        lambda: (copy / "bar" / "renamed.jpg").unlink(),
        lambda: (copy / "ring").rename(copy / "loop"),
    ):
        change()
        digests.add(images_digest(str(copy)))
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "is no folder; name one with a subfolder of images a class"),
        (lambda folder: [shutil.rmtree(folder / label) for label in CLASSES], "has no subfolder"),
        (lambda folder: [shutil.rmtree(folder / label) for label in CLASSES[1:]], r"has one class alone \('ball'\)"),
        (lambda folder: (folder / "void").mkdir(), r"class 'void' of .* holds no .jpg, .jpeg"),
    ],
)
def test_what_is_no_folder_of_classes_is_told_in_one_line(shapes: Path, make: object, words: str) -> None:
    make(shapes)  # type: ignore[operator]
    with pytest.raises(ValueError, match=f"^train.images: .*{words}") as raised:
        images_digest(str(shapes))
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> tuple[str, int]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tasks.train.folder.hash_file", refuse)
    with pytest.raises(ValueError, match=r"train.images: '.*ball/000.jpg' cannot be read \(Permission denied\)"):
        images_digest(str(shapes))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "train.images: empty; supervised learns from a folder"),
        ({"images": "x", "context_weight": 1}, "set it to 0"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainConfig.model_validate({"objective": "supervised", **settings})


def test_what_is_no_image_is_left_out_and_counted(shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    (shapes / "bar" / "page.jpg").write_text("<html>404</html>")
    (shapes / "bar" / "empty.png").write_bytes(b"")
    table = _table(shapes)
    assert table.counts == {"images": 24, "unreadable": 2}
    assert "2 of 26 files left out: 'bar/empty.png' (an empty file), 'bar/page.jpg' (no JPEG" in caplog.text
    for path in (shapes / "ring").rglob("*.*g"):
        path.write_bytes(b"")
    with pytest.raises(Dropped, match=r"class 'ring' of .* holds no sound image"):
        _table(shapes)


def test_an_image_whose_pixels_are_damaged_is_named(shapes: Path, small_config: TrainConfig) -> None:
    path = shapes / "bar" / "001.png"
    path.write_bytes(path.read_bytes()[:60])  # its header stays
    table = _table(shapes)
    assert table.counts["unreadable"] == 0
    with pytest.raises(Dropped, match=r"damaged_image: train.images: '.*bar/001.png' is no whole image") as raised:
        list(iterate_batches(table, small_config, 0, cursor=0, steps=3, rank=0, ranks=1))
    assert "\n" not in str(raised.value)


def test_images_that_changed_since_the_plan_are_refused(shapes: Path) -> None:
    digest = images_digest(str(shapes))
    path = shapes / "bar" / "001.png"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="holds other images here than when the run was planned"):
        load_images(str(shapes), digest)


def test_ranks_share_batches_that_go_on_from_a_cursor(shapes: Path, small_config: TrainConfig) -> None:
    table = _table(shapes)
    for cursor in (0, 7, 20):  # 20 runs into the next epoch
        whole = read_batch(table, small_config, 7, cursor, 0, 1)
        assert whole.images.shape == (8, 32, 32, 3)
        assert whole.far_away is None
        assert np.array_equal(whole.groups, table.groups[whole.pairs])
        parts = [read_batch(table, small_config, 7, cursor, rank, 3) for rank in range(3)]
        assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)
        assert np.array_equal(np.concatenate([part.draws for part in parts]), whole.draws)
    run = list(iterate_batches(table, small_config, 1, cursor=0, steps=6, rank=0, ranks=1))
    assert sorted(np.concatenate([batch.pairs for batch in run[:3]])) == list(range(24))
    (last,) = iterate_batches(table, small_config, 1, cursor=40, steps=1, rank=0, ranks=1)
    assert np.array_equal(last.images, run[5].images)


def test_crops_reach_the_ends_of_images_that_are_not_square() -> None:
    wide = np.repeat(np.arange(200, dtype=np.uint8)[None], 50, axis=0)
    for image, axis in ((wide, 1), (wide.T, 0)):
        data = cv2.imencode(".png", np.stack([image] * 3, axis=2))[1].tobytes()
        draws = np.random.default_rng(0).uniform(size=(300, NUM_DRAWS))
        crops = [decode_patch(data, row, "crop", 0.6, 1.0, 32).astype(int) for row in draws]
        assert min(crop.min() for crop in crops) < 5
        assert max(crop.max() for crop in crops) > 194
        assert all(30 * 0.9 < np.ptp(crop) <= 50 for crop in crops), "squares of 30 to 50 px"
        assert all(np.ptp(crop, axis=1 - axis).max() <= 1 for crop in crops)
        middle = decode_patch(data, draws[0], "mirror", 0.6, 1.0, 32)
        assert 73 <= middle.min() <= middle.max() <= 126, "the middle square"


@pytest.mark.usefixtures("alone")
def test_loss_and_gradient_equal_the_slow_reference() -> None:
    network = build_network("small", 16, 1).double()
    config = TrainConfig(objective="supervised", images="folder")
    objective = build_objective(config, network, 4, num_classes=3).double()
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([2, 0, 2, 1, 2])
    outcome = objective(network, Inputs(images, slice(0, 5), other_groups(labels), 4, 9, labels))
    outcome.loss.backward()
    weight, bias = (parameter.detach().numpy() for parameter in objective.parameters())
    with torch.no_grad():
        features = network.backbone(images).numpy()
    losses, gradient = [], np.zeros_like(weight)
    for feature, label in zip(features, labels.tolist(), strict=True):
        scores = np.exp(weight @ feature + bias)
        shares = scores / scores.sum()
        losses.append(-np.log(shares[label]))
        gradient += np.outer(shares - np.eye(3)[label], feature) / 5
    assert float(outcome.loss.detach()) == pytest.approx(np.mean(losses), abs=1e-10)
    found = next(iter(objective.parameters())).grad
    assert found is not None
    np.testing.assert_allclose(found.numpy(), gradient, atol=1e-10)
    guess = -(0.6 * np.log(0.6) + 2 * 0.2 * np.log(0.2))
    assert float(outcome.collapse_gap) == pytest.approx(max(0, 1 - np.mean(losses) / guess), abs=1e-10)


@pytest.mark.usefixtures("alone")
def test_it_learns_and_a_killed_run_goes_on_bit_equal(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of an epoch; with two ranks the curve is that of one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("tasks.train.loop.signal.signal", lambda *_: None)  # the ranks' way to hear of their end
    shapes = write_shapes(tmp_path / "shapes", images=25)
    config = TrainConfig(
        objective="supervised", images=str(shapes), input_px=32, embedding=16, steps=60, pairs_per_batch=24,
        augment="crop", schedule="step", checkpoint_every_steps=5,
    )  # fmt: skip
    digest = images_digest(str(shapes))

    def kill(metrics: Metrics, step: int, epoch: float, loss: float) -> None:
        if step == 38:
            raise KeyboardInterrupt

    interrupted, whole = _document("interrupted", config, digest), _document("whole", config, digest)
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "tell_progress", kill)
        with pytest.raises(KeyboardInterrupt):
            _train_here(root, config, interrupted)
    checkpoint = find_checkpoint(root, interrupted.key)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.cursor) == (35, 840), "of 75 images an epoch"
    resumed, uninterrupted = (_train_here(root, config, document) for document in (interrupted, whole))
    for name in ("weights.safetensors", "metrics.parquet", "state.safetensors"):
        first, second = (_without_key(read_file(root, unit.files[name])) for unit in (resumed, uninterrupted))
        assert first == second, name
    assert resumed.counts == {"steps": 60, "images": 75, "unreadable": 0}
    assert resumed.facts["classes"] == list(CLASSES)
    accuracy = _accuracy(root, resumed, write_shapes(tmp_path / "others", seed=1))
    assert accuracy > 0.8

    two = config.model_copy(update={"ranks": 2, "steps": 6})
    unit = train_network(root, "", two, _document("two", two, digest))
    few, many = (read_table(root, one.files["metrics.parquet"])["loss"].to_pylist() for one in (unit, resumed))
    assert few == pytest.approx(many[:6], abs=1e-4)

    longer = config.model_copy(update={"steps": 200})
    require_continuable(resumed, longer)
    os.rename(shapes / "ring", shapes / "loop")
    with pytest.raises(
        ValueError, match=r"tells 3 classes apart, and train.images holds 3 others; use train.init_from"
    ):
        require_continuable(resumed, longer)


def _train_here(root: Root, config: TrainConfig, document: KeyDocument) -> Manifest:
    """As a rank of its own would, in this process."""
    unit = train(Job(root.url, "", config, document, "cpu", 1, "a" * 8, "", {}), torch.device("cpu"))
    assert unit is not None
    return unit


def _table(folder: Path) -> ImageTable:
    return load_images(str(folder), images_digest(str(folder)))


def _document(name: str, config: TrainConfig, digest: str) -> KeyDocument:
    # `name` stands in the fingerprint's place: equal training under two keys.
    return KeyDocument(Recipe("train", 1, 7, config.model_dump(mode="json"), code={"loop": name}), {"images": digest})


def _without_key(data: bytes) -> bytes:
    """A state names its unit in its header."""
    return safetensors.torch.save(safetensors.torch.load(data)) if b"__metadata__" in data[:4096] else data


def _accuracy(root: Root, unit: Manifest, folder: Path) -> float:
    """Of the trained network and its classifier, which the unit's state keeps."""
    network, spec = load_network(root, unit)
    state = safetensors.torch.load(read_file(root, unit.files["state.safetensors"]))
    table = _table(folder)
    pixels = [read_picture(str(folder / file), spec.input_px, 10**6).pixels for file in table.files]
    with torch.no_grad():
        features = network.backbone(to_tensor(np.stack(pixels)))
        scores = features @ state["objective.classifier.weight"].T + state["objective.classifier.bias"]
    return float((scores.argmax(dim=1).numpy() == table.groups).mean())
