"""Checkpoints, the schedule, the optimiser's state and the guards of a run."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from storage.root import Root
from tasks.networks.building import build_network
from tasks.records import METRIC_SCHEMA, Dropped
from tasks.train.attempts import checkpoint_paths, remove_attempts
from tasks.train.best import Best
from tasks.train.checkpoint import Checkpoint, checkpoint_bytes, find_checkpoint, parse_checkpoint, save_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.monitor import Monitor
from tasks.train.objectives.outcome import Outcome
from tasks.train.schedule import (
    learning_rate,
    make_optimiser,
    momentum_tensors,
    restore_momentum,
    set_learning_rate,
)

_KEY = "a" * 64


def test_checkpoint_comes_back_whole(root: Root) -> None:
    assert find_checkpoint(root, _KEY) is None
    saved = _checkpoint(12)
    path = save_checkpoint(root, "one", saved, keep=2)
    assert path.startswith(f"train/{_KEY}/attempts/one/checkpoint-000000012-")
    found = find_checkpoint(root, _KEY)
    assert found is not None
    assert (found.step, found.cursor, found.key, found.seconds, found.collapsed_steps) == (12, 768, _KEY, 3.5, 4)
    assert (found.skipped_steps, found.skipped_in_a_row) == (3, 1)
    assert replace(found.best, network={}) == Best(6, 0.25, 0.75, 3)
    assert torch.equal(found.best.network["layer.weight"], saved.best.network["layer.weight"])
    assert found.network.keys() == {"layer.weight"}
    assert torch.equal(found.network["layer.weight"], saved.network["layer.weight"])
    assert torch.equal(found.momentum["layer.weight"], saved.momentum["layer.weight"])
    assert torch.equal(found.objective["head.bias"], saved.objective["head.bias"])
    assert torch.equal(found.objective_momentum["head.bias"], saved.objective_momentum["head.bias"])
    assert torch.equal(found.metrics, saved.metrics)
    assert checkpoint_bytes(found) == checkpoint_bytes(saved)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_newest_are_kept_over_all_attempts(kept: int, root: Root) -> None:
    for step, attempt in ((5, "one"), (10, "one"), (15, "two"), (20, "two")):
        save_checkpoint(root, attempt, _checkpoint(step), keep=kept)
    assert [int(path.split("checkpoint-")[1][:9]) for path in checkpoint_paths(root, _KEY)] == [20, 15, 10][:kept]
    found = find_checkpoint(root, _KEY)
    assert found is not None
    assert found.step == 20
    remove_attempts(root, _KEY)
    assert checkpoint_paths(root, _KEY) == []


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_damaged_checkpoint_is_passed_over(damage: str, root: Root, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(root, "one", _checkpoint(5), keep=2)
    path = save_checkpoint(root, "two", _checkpoint(10), keep=2)
    data = root.read_bytes(path)
    broken = {"torn": data[: len(data) // 2], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}
    root.write_bytes(path, broken[damage])
    with caplog.at_level(logging.WARNING):
        found = find_checkpoint(root, _KEY)
    assert found is not None
    assert found.step == 5
    assert "is damaged" in caplog.text


def test_checkpoint_of_another_unit_is_passed_over(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    path = save_checkpoint(root, "one", _checkpoint(5), keep=2)
    other = "b" * 64
    root.write_bytes(path.replace(_KEY, other), root.read_bytes(path))
    assert find_checkpoint(root, other) is None
    assert "another unit" in caplog.text


def test_newer_schema_is_not_read() -> None:
    data = checkpoint_bytes(_checkpoint(5)).replace(b'schema\\": 2', b'schema\\": 9')
    assert parse_checkpoint(data) is None


def test_the_schema_before_skipped_steps_is_read() -> None:
    header = {"schema": 1, "step": 5, "cursor": 320, "key": _KEY, "seconds": 3.5, "collapsed_steps": 4}
    tensors = {"network.layer.weight": torch.ones(2), "metrics": torch.zeros(0, len(METRIC_SCHEMA))}
    found = parse_checkpoint(safetensors.torch.save(tensors, metadata={"tritrack": json.dumps(header)}))
    assert found is not None
    assert (found.step, found.skipped_steps, found.skipped_in_a_row, found.best) == (5, 0, 0, Best())
    assert found.network.keys() == {"layer.weight"}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_momentum_survives_in_every_layout(name: str) -> None:
    """Two steps, and one step, saved and restored into a fresh network, and one more, end in the same bits."""
    config = TrainConfig(optimiser=name)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        network = build_network("small", 16, 0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, make_optimiser(network, config)

    def step(network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        network(images.contiguous(memory_format=torch.channels_last)).square()[:, 0].sum().backward()
        optimiser.step()

    whole, optimiser = make()
    step(whole, optimiser)
    saved = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    buffers = {name: tensor.clone().contiguous() for name, tensor in momentum_tensors(whole, optimiser).items()}  # type: ignore[arg-type]
    assert {label.partition("|")[0] for label in buffers} == saved.keys()
    step(whole, optimiser)

    again, optimiser = make()
    assert momentum_tensors(again, optimiser) == {}  # type: ignore[arg-type]
    again.load_state_dict(saved)
    restore_momentum(again, optimiser, buffers)  # type: ignore[arg-type]
    step(again, optimiser)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in whole.state_dict().items())


def test_learning_rate_follows_the_schedule() -> None:
    cosine = TrainConfig(schedule="cosine", learning_rate=0.2, steps=100)
    assert [learning_rate(cosine, step) for step in (0, 50, 100)] == pytest.approx([0.2, 0.1, 0.0])
    warm = TrainConfig(learning_rate=0.2, steps=100, warmup_steps=4)
    assert [learning_rate(warm, step) for step in (0, 1, 50)] == pytest.approx([0.05, 0.1, 0.1], rel=1e-3)
    steps = TrainConfig(schedule="step", learning_rate=0.001, steps=400, decay_every_steps=100)
    assert [learning_rate(steps, step) for step in (0, 99, 100, 399)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-6])


def test_biases_do_not_decay_and_caffenets_go_twice_as_fast() -> None:
    for name, rate in (("small", 1.0), ("caffenet", 2.0)):
        network = build_network(name, 16, 0)
        optimiser = make_optimiser(network, TrainConfig(weight_decay=0.01))
        set_learning_rate(optimiser, 0.5)
        groups = {id(parameter): group for group in optimiser.param_groups for parameter in group["params"]}
        assert len(groups) == len(list(network.parameters()))
        for label, parameter in network.named_parameters():
            group = groups[id(parameter)]
            assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0), label
            assert group["lr"] == 0.5 * (rate if label.endswith("bias") else 1.0), label


def test_parameters_of_the_objective_are_trained_too() -> None:
    network, head = build_network("caffenet", 16, 0), torch.nn.Linear(4, 2)
    optimiser = make_optimiser(network, TrainConfig(weight_decay=0.01), head)
    set_learning_rate(optimiser, 0.5)
    groups = {id(parameter): group for group in optimiser.param_groups for parameter in group["params"]}
    assert len(groups) == len(list(network.parameters())) + 2
    assert groups[id(head.weight)]["weight_decay"] == 0.01
    assert groups[id(head.bias)]["weight_decay"] == 0
    assert groups[id(head.weight)]["lr"] == groups[id(head.bias)]["lr"] == 0.5, "the double rate is CaffeNet's own"


def test_monitor_stops_a_collapsed_run() -> None:
    monitor = Monitor(TrainConfig(steps=400), "a lower rate")
    for step in range(1, 200):
        monitor.check(step, _outcome(0.499, 0.9999, 0.002))
    monitor.check(200, _outcome(0.3, 0.9999, 0.4))  # the loss moved: the count begins again
    for step in range(201, 400):
        monitor.check(step, _outcome(0.5, 0.9999, 0.0))
    with pytest.raises(
        Dropped, match=r"for 200 steps up to step 400 .* alike .* loss, 0.5000, that of one .*; try a lower rate"
    ):
        monitor.check(400, _outcome(0.5, 0.9999, 0.0))


def test_monitor_leaves_a_hard_but_living_run_alone() -> None:
    monitor = Monitor(TrainConfig(steps=10), "nothing")
    for step in range(1000):
        monitor.check(step, _outcome(0.5, 0.6, 0.0))


def test_monitor_lets_some_steps_be_skipped() -> None:
    monitor = Monitor(TrainConfig(skip_budget=2), "nothing")
    for step in range(1, 31, 3):
        for skipped in (step, step + 1):
            monitor.skip(skipped)
        monitor.check(step + 2, _outcome(0.5, 0.1, 0.2))
    with pytest.raises(Dropped, match=r"diverged: at step 31 .* for 1 steps in a row and 21 in all; lower train.learn"):
        monitor.skip(31)


@pytest.mark.parametrize(("budget", "steps", "before"), [(0, 99, 0), (3, 99, 3), (3, 2, 1), (3, 1, 0)])
def test_monitor_stops_when_too_many_or_all_are_skipped_in_a_row(budget: int, steps: int, before: int) -> None:
    monitor = Monitor(TrainConfig(skip_budget=budget, steps=steps), "nothing")
    for step in range(1, before + 1):
        monitor.skip(step)
    with pytest.raises(Dropped, match=rf"diverged: .*or raise train.skip_budget \(now {budget}\)"):
        monitor.skip(before + 1)


def _outcome(loss: float, mean_cosine: float, collapse_gap: float) -> Outcome:
    numbers = (torch.tensor(number) for number in (loss, mean_cosine, collapse_gap))
    return Outcome(**dict(zip(("loss", "mean_cosine", "collapse_gap"), numbers, strict=True)))


def _checkpoint(step: int) -> Checkpoint:
    weight = torch.arange(6.0).view(2, 3) + step
    metrics = torch.rand(step, len(METRIC_SCHEMA), dtype=torch.float64, generator=torch.Generator().manual_seed(step))
    own = {"head.bias": weight[0] + 0.5}
    momentum = {"head.bias": weight[1] - 0.5}
    best, network = Best(6, 0.25, 0.75, 3, {"layer.weight": weight + 0.25}), {"layer.weight": weight}
    return Checkpoint(
        step, step * 64, _KEY, 3.5, 4, network, {"layer.weight": -weight}, metrics, own, momentum, 3, 1, best
    )
