"""A run that is killed anywhere ends as if it had not been, with what it skipped and what was best."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load

from storage.manifests import Manifest, read_file
from storage.root import Root
from storage.tables import read_table
from tasks.records import Dropped
from tasks.train import loop
from tasks.train.attempts import checkpoint_paths
from tasks.train.begin import state_bytes
from tasks.train.checkpoint import Checkpoint, parse_checkpoint, save_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.continuing import STATE
from tasks.train.data import Batch
from tasks.train.loop import BEST, Run
from tasks.train.objectives.outcome import Outcome
from tests.tasks.train.conftest import MakeTriplets, TrainHere, here_document

_STEPS = 10
_FILES = ("weights.safetensors", "metrics.parquet", BEST)


@pytest.fixture
def config(small_config: TrainConfig) -> TrainConfig:
    """Three batches an epoch of 24 pairs, hard negatives from the fifth step on, a checkpoint at every step."""
    changes = {"steps": _STEPS, "hard_after_step": 4, "best_every_steps": 2, "accumulate": 2, "optimiser": "adamw"}
    return small_config.model_copy(update={**changes, "checkpoint_every_steps": 1, "keep_checkpoints": 99})


def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(
    root: Root,
    make_triplets: MakeTriplets,
    config: TrainConfig,
    train_here: TrainHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _spoil(monkeypatch, losses={4}, gradients={5})
    triplets = make_triplets(("a", "b", "c", "d"), pairs=6)
    whole = train_here(triplets, config, "whole")
    saved = _checkpoints(root, whole.key)
    assert list(saved) == list(range(1, _STEPS))
    _require_untouched(saved[4], saved[5], saved[6])
    assert not torch.equal(saved[6].network["head.2.weight"], saved[7].network["head.2.weight"])
    _require_best(root, whole, saved)

    # Before the first checkpoint, within an epoch, before its last batch, at its end, between two steps that are
    # skipped, and before the last batch of the run.
    for step in (0, 1, 2, 3, 5, 9):
        document = here_document(triplets, config, f"killed after {step}")
        if step:
            save_checkpoint(root, "killed", replace(saved[step], key=document.key), keep=1)
        others = {"checkpoint_every_steps": 3, "keep_checkpoints": 1}  # neither changes what comes out
        resumed = train_here(triplets, config.model_copy(update=others), f"killed after {step}")
        for name in _FILES:
            assert read_file(root, resumed.files[name]) == read_file(root, whole.files[name]), f"{name}, {step}"
        assert _state(root, resumed) == _state(root, whole), step
        for fact in ("skipped_steps", "best_step", "best_loss", "final_loss"):
            assert resumed.facts[fact] == whole.facts[fact], f"{fact}, {step}"
        assert len(checkpoint_paths(root, document.key)) == 1
    assert whole.facts["skipped_steps"] == 2


def test_a_diverged_run_goes_on_with_a_larger_budget(
    root: Root,
    make_triplets: MakeTriplets,
    config: TrainConfig,
    train_here: TrainHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _spoil(monkeypatch, losses={3}, gradients={4})
    triplets = make_triplets(("a", "b", "c", "d"), pairs=6)
    config = config.model_copy(update={"best_every_steps": 0, "accumulate": 1})
    small = config.model_copy(update={"skip_budget": 1})
    with pytest.raises(Dropped, match=r"diverged: at step 5 .* for 2 steps in a row and 2 in all") as caught:
        train_here(triplets, small, "one")
    assert "\n" not in str(caught.value)
    assert max(_checkpoints(root, here_document(triplets, small, "one").key)) == 4
    mended, whole = train_here(triplets, config, "one"), train_here(triplets, config, "other")
    assert read_file(root, mended.files["weights.safetensors"]) == read_file(root, whole.files["weights.safetensors"])
    assert mended.facts["skipped_steps"] == whole.facts["skipped_steps"] == 2
    assert BEST not in whole.files
    assert "best_step" not in whole.facts


def test_a_window_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="no window of 11 steps ends within 10"):
        TrainConfig(steps=10, best_every_steps=11)


def _spoil(monkeypatch: pytest.MonkeyPatch, losses: set[int], gradients: set[int]) -> None:
    """Make the loss, or the gradients alone, of these steps (counted from 0) NaN."""
    forward = loop.forward

    def spoiled(run: Run, batch: Batch, step: int) -> Outcome:
        outcome = forward(run, batch, step)
        if step in gradients:
            outcome.loss.register_hook(lambda gradient: gradient * torch.nan)
        return replace(outcome, loss=outcome.loss * torch.nan) if step in losses else outcome

    monkeypatch.setattr(loop, "forward", spoiled)


def _checkpoints(root: Root, key: str) -> dict[int, Checkpoint]:
    found = [parse_checkpoint(root.read_bytes(path)) for path in reversed(checkpoint_paths(root, key))]
    return {checkpoint.step: checkpoint for checkpoint in found if checkpoint is not None}


def _state(root: Root, manifest: Manifest) -> bytes:
    state = parse_checkpoint(read_file(root, manifest.files[STATE]))
    assert state is not None
    return state_bytes(replace(state, key=""))


def _require_untouched(*checkpoints: Checkpoint) -> None:
    """A skipped step left all tensors as they were, and has no row."""
    first = checkpoints[0]
    for number, other in enumerate(checkpoints):
        assert (other.skipped_steps, other.skipped_in_a_row) == (number, number)
        for name, tensor in first.network.items():
            assert torch.equal(tensor, other.network[name])
        for name, tensor in first.momentum.items():
            assert torch.equal(tensor, other.momentum[name])
        assert torch.equal(first.metrics, other.metrics)


def _require_best(root: Root, manifest: Manifest, saved: dict[int, Checkpoint]) -> None:
    """Against the loss curve: the lowest mean of two steps among those with hard negatives."""
    metrics = read_table(root, manifest.files["metrics.parquet"])
    losses = dict(zip(metrics["step"].to_pylist(), metrics["loss"].to_pylist(), strict=True))
    assert list(losses) == [1, 2, 3, 4, 7, 8, 9, 10]
    means = {end: (losses[end - 1] + losses[end]) / 2 for end in (8, 10)}
    step = min(means, key=means.__getitem__)
    assert manifest.facts["best_step"] == step
    assert manifest.facts["best_loss"] == pytest.approx(means[step])
    assert saved[4].best.step == saved[7].best.step in (2, 4), "no window with hard negatives has ended"
    assert saved[7].best.loss < 9
    expected = saved[step].network if step in saved else load(read_file(root, manifest.files["weights.safetensors"]))
    best = load(read_file(root, manifest.files[BEST]))
    assert best.keys() == expected.keys()
    assert all(torch.equal(best[name], expected[name]) for name in best)
