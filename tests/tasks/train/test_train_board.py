"""What TensorBoard reads of a training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from storage.manifests import read_file
from storage.root import Root
from storage.tables import read_table
from tasks.networks.images import to_pixels, to_tensor
from tasks.networks.network import Network, unit_length
from tasks.train import loop
from tasks.train.board import contact_sheet
from tasks.train.config import TrainConfig
from tasks.train.data import Batch
from tasks.train.extra import require_extras
from tasks.train.loop import Run
from tasks.train.negatives import other_groups
from tasks.train.objectives.objective import Inputs
from tasks.train.objectives.outcome import Outcome
from tests.tasks.train.conftest import MakeTriplets, TrainHere, here_document


def test_a_killed_run_goes_on_in_the_same_log_and_ends_the_same(
    root: Root,
    make_triplets: MakeTriplets,
    small_config: TrainConfig,
    train_here: TrainHere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    triplets, steps = make_triplets(("a", "b", "c")), 12
    plain = small_config.model_copy(update={"steps": steps, "accumulate": 2})
    config = plain.model_copy(update={"tensorboard": str(tmp_path / "log")})
    forward = loop.forward

    def killed(run: Run, batch: Batch, step: int) -> Outcome:
        if step == 7:  # after the checkpoint of step 4
            raise KeyboardInterrupt
        return forward(run, batch, step)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "forward", killed)
        with pytest.raises(KeyboardInterrupt):
            train_here(triplets, config, "logged")
    manifest = train_here(triplets, config, "logged")
    assert [path.name for path in (tmp_path / "log").iterdir()] == [manifest.key[:16]]
    read = EventAccumulator(str(tmp_path / "log" / manifest.key[:16]), {"scalars": 0, "images": 0}).Reload()
    metrics = read_table(root, manifest.files["metrics.parquet"]).to_pydict()
    names = ["loss", "active_share", "positive_cosine", "negative_cosine", "mean_cosine", "learning_rate"]
    assert sorted(read.Tags()["scalars"]) == sorted([*names, "images_per_second"])
    for name in read.Tags()["scalars"]:
        assert [event.step for event in read.Scalars(name)] == list(range(1, steps + 1)), name
    for name in names:
        assert [event.value for event in read.Scalars(name)] == pytest.approx(metrics[name], rel=1e-6), name
    assert all(event.value > 0 for event in read.Scalars("images_per_second"))
    (pictures,) = (read.Images(tag) for tag in read.Tags()["images"])
    assert [picture.step for picture in pictures] == list(range(1, steps + 1))
    sheet = cv2.imdecode(np.frombuffer(pictures[-1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (8 * 32, 3 * 32, 3)

    unlogged = train_here(triplets, plain, "unlogged")
    for name in ("weights.safetensors", "metrics.parquet"):
        assert read_file(root, unlogged.files[name]) == read_file(root, manifest.files[name])
    assert here_document(triplets, plain, "logged").key == manifest.key


def test_a_sheet_shows_each_pair_beside_its_nearest_other_image() -> None:
    class Colour(Network):
        def backbone(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3)).flip(0)  # not by this one

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return unit_length(images.mean(dim=(2, 3)))

    # The second rank's pairs, of three groups: two reds, a red of the same group as the first, and green.
    colours = [(200, 0, 0), (200, 40, 0), (210, 0, 0), (0, 200, 0)]
    pixels = np.array([*colours, *colours], np.uint8)[:, None, None].repeat(4, axis=1).repeat(4, axis=2)
    groups = torch.tensor([9, 9, 0, 1, 0, 2])
    inputs = Inputs(to_tensor(pixels), slice(2, 6), other_groups(groups), seed=0, step=0)
    zero = torch.zeros(())
    network = Colour().train()
    sheet = contact_sheet(
        network, inputs, Outcome(loss=zero, mean_cosine=zero, collapse_gap=zero, positive_cosine=zero)
    )
    assert network.training
    assert sheet.shape == (16, 12, 3)
    assert [tuple(sheet[4 * row, 0]) for row in range(4)] == colours
    assert [tuple(sheet[4 * row + 3, 7]) for row in range(4)] == colours
    assert [tuple(sheet[4 * row, 11]) for row in (0, 2)] == [colours[1]] * 2, "the nearest of another group"
    alone = Inputs(to_tensor(pixels), slice(2, 6), other_groups(torch.zeros(6)), seed=0, step=0)
    assert not contact_sheet(network, alone, Outcome(loss=zero, mean_cosine=zero, collapse_gap=zero))[:, 8:].any()


def test_pixels_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    assert np.array_equal(to_pixels(to_tensor(pixels)), pixels)


def test_what_cannot_be_logged_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train.tensorboard: takes a folder of this machine, not s3://bucket/logs"):
        TrainConfig(tensorboard="s3://bucket/logs")
    require_extras(TrainConfig(tensorboard="logs"))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"train.tensorboard: '.*/file' is no folder that can be written to"):
        require_extras(TrainConfig(tensorboard=str(tmp_path / "file" / "logs")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    require_extras(TrainConfig())
    with pytest.raises(ValueError, match=r"tensorboard is not installed; pip install 'tritrack\[tensorboard\]'"):
        require_extras(TrainConfig(tensorboard="logs"))
