"""The key of a train unit, and the device of a rank."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tasks.train.config import TrainConfig
from tasks.train.device import resolve_device
from tasks.train.key import key_document


def test_key_holds_what_changes_the_network_and_nothing_else() -> None:
    document = key_document(TrainConfig(), 3, "t" * 64)
    assert document.stage == "train"
    assert document.inputs == {"triplets": "t" * 64}
    assert document.recipe.variant == {"network": "small", "objective": "ranking"}
    assert document.recipe.code
    how = {"ranks": 4, "checkpoint_every_steps": 7, "keep_checkpoints": 9, "skip_budget": 0, "tensorboard": "logs"}
    same = key_document(TrainConfig.model_validate(how), 3, "t" * 64)
    assert same.key == document.key
    others = [
        key_document(TrainConfig(margin=0.25), 3, "t" * 64),
        key_document(TrainConfig(network="caffenet"), 3, "t" * 64),
        key_document(TrainConfig(objective="slowness"), 3, "t" * 64),
        key_document(TrainConfig(context_weight=0.1), 3, "t" * 64),
        key_document(TrainConfig(accumulate=2), 3, "t" * 64),
        key_document(TrainConfig(precision="bfloat16"), 3, "t" * 64),
        key_document(TrainConfig(best_every_steps=9), 3, "t" * 64),
        key_document(TrainConfig(), 4, "t" * 64),
        key_document(TrainConfig(), 3, "u" * 64),
    ]
    assert len({document.key, *(other.key for other in others)}) == 10


def test_code_of_the_context_objective_enters_where_it_has_a_weight() -> None:
    module = "tasks.train.objectives.context"
    assert module not in key_document(TrainConfig(), 3, "t" * 64).recipe.code
    for config in (TrainConfig(context_weight=0.1), TrainConfig(objective="context")):
        assert module in key_document(config, 3, "t" * 64).recipe.code


def test_images_stand_in_the_place_of_the_triplets() -> None:
    config = TrainConfig(objective="supervised", images="here")
    document = key_document(config, 3, "d" * 64)
    assert document.inputs == {"images": "d" * 64}
    assert "tasks.train.images" in document.recipe.code
    assert "tasks.train.pairs" not in document.recipe.code
    assert key_document(TrainConfig(objective="supervised", images="there"), 3, "d" * 64).key == document.key
    assert "tasks.train.images" not in key_document(TrainConfig(), 3, "t" * 64).recipe.code


def test_planner_and_parent_need_no_torch() -> None:
    program = (
        "import sys, tasks.train.key, tasks.train.launch; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_absent_device_is_named() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert resolve_device("auto") == torch.device("cpu")
        with pytest.raises(ValueError, match="rank 1 needs a CUDA device of its own, 0 found"):
            resolve_device("cuda", local_rank=1)
