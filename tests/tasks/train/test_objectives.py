"""What holds for every objective of the registry, and for one with the context objective beside it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from tasks.networks.building import build_network
from tasks.networks.network import Network
from tasks.records import Dropped
from tasks.train.config import TrainConfig
from tasks.train.monitor import Monitor
from tasks.train.negatives import other_groups
from tasks.train.objectives import OBJECTIVES
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.schedule import make_optimiser
from tasks.variants import load_variant

_PAIRS = 4
_CONFIGS = {
    **{name: TrainConfig.model_validate({"objective": name, "images": "folder"}) for name in OBJECTIVES},
    "infonce with context": TrainConfig(objective="infonce", context_weight=0.5),
}

pytestmark = pytest.mark.usefixtures("alone")
every_objective = pytest.mark.parametrize("name", _CONFIGS)


@every_objective
def test_weights_are_a_pure_function_of_the_seed(name: str) -> None:
    network, config = build_network("small", 16, 0), _CONFIGS[name]
    before = torch.random.get_rng_state()
    one, again, other = (build_objective(config, network, seed, _PAIRS).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.keys() == again.keys() == other.keys()
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert all(not torch.equal(one[key], other[key]) for key in one)


@every_objective
def test_outcome_is_finite_and_its_loss_alone_has_a_gradient(name: str) -> None:
    network, objective = _built(name)
    outcome = objective(network, _inputs(name))
    scalars = {field: value for field, value in vars(outcome).items() if value is not None}
    assert all(value.shape == () and value.isfinite() for value in scalars.values())
    assert [field for field, value in scalars.items() if value.requires_grad] == ["loss"]
    assert -1 <= float(outcome.mean_cosine) <= 1
    assert float(outcome.collapse_gap) >= 0
    outcome.loss.backward()
    for label, parameter in [*network.convolutions.named_parameters(), *objective.named_parameters()]:  # type: ignore[operator,union-attr]
        assert parameter.grad is not None, label
        assert parameter.grad.any(), label


@every_objective
def test_equal_steps_give_equal_bits(name: str) -> None:
    (network, objective), inputs = _built(name), _inputs(name)
    first, second = (objective(network, inputs).loss.detach() for _ in range(2))
    assert torch.equal(first, second)


@every_objective
def test_a_small_step_down_the_gradient_lowers_the_loss(name: str) -> None:
    (network, objective), inputs = _built(name), _inputs(name)
    network.double()
    objective.double()
    doubled = dataclasses.replace(inputs, images=inputs.images.double())
    parameters = [*network.parameters(), *objective.parameters()]
    loss = objective(network, doubled).loss
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    squares = sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None)
    size = 1e-6 / squares**0.5
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= size * gradient
        lowered = float(loss.detach()) - float(objective(network, doubled).loss)
    assert lowered == pytest.approx(size * squares, rel=0.05)


@every_objective
def test_batch_of_one_group_gives_no_nan(name: str) -> None:
    network, objective = _built(name)
    outcome = objective(network, _inputs(name, groups=torch.zeros(_PAIRS, dtype=torch.int64)))
    outcome.loss.backward()
    assert outcome.loss.isfinite()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_objective
def test_dead_network_is_stopped_with_what_to_try(name: str) -> None:
    """Convolutions that give 0 for every image: no gradient brings them back, only the last biases move."""
    network, objective = _built(name)
    with torch.no_grad():
        for parameter in network.convolutions.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    with pytest.raises(Dropped, match=r"collapsed: for 200 steps .*; try ") as caught:
        _train(network, objective, _CONFIGS[name].model_copy(update={"learning_rate": 0.002}), steps=200)
    assert caught.value.words.endswith(objective.advice)


@every_objective
def test_embeddings_without_length_count_as_alike(name: str) -> None:
    network, objective = _built(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        outcome = objective(network, _inputs(name))
    assert float(outcome.mean_cosine) == 1


@pytest.mark.parametrize("name", sorted(set(_CONFIGS) - {"slowness"}))
def test_healthy_start_is_left_alone(name: str) -> None:
    network, objective = _built(name)
    monitor = _train(network, objective, _CONFIGS[name].model_copy(update={"learning_rate": 0.002}), steps=60)
    assert monitor.collapsed_steps == 0


def test_slowness_collapses_and_is_stopped() -> None:
    network, objective = _built("slowness")
    with pytest.raises(
        Dropped, match=r"collapsed: .* \(mean cosine (0\.99|1\.00).*; try train.objective=ranking or infonce"
    ):
        _train(network, objective, _CONFIGS["slowness"], steps=240)


def test_context_is_added_with_its_weight() -> None:
    network, objective = _built("infonce with context")
    pairs = build_objective(_CONFIGS["infonce"], network, 3)
    context = build_objective(_CONFIGS["context"], network, 3)
    with torch.no_grad():
        both, alone, beside = (one(network, _inputs("infonce")) for one in (objective, pairs, context))
    assert float(both.loss) == pytest.approx(float(alone.loss) + 0.5 * float(beside.loss))
    assert torch.equal(both.collapse_gap, alone.collapse_gap), "the embeddings are what may collapse"
    assert torch.equal(both.positive_cosine, alone.positive_cosine)


def test_unknown_objective_names_the_choices() -> None:
    choices = "autoencoder, context, infonce, ranking, slowness, supervised"
    with pytest.raises(ValueError, match=f"objective: 'magic' is unknown; choose one of {choices}"):
        load_variant(OBJECTIVES, "magic", "objective")


def _built(name: str) -> tuple[Network, Objective]:
    network = build_network("small", 16, 1)
    return network, build_objective(_CONFIGS[name], network, 3, num_classes=_PAIRS)


def _inputs(name: str, step: int = 7, groups: torch.Tensor | None = None) -> Inputs:
    """Each pair of a video of its own, or each image (the anchors alone) of a class of its own."""
    groups = torch.arange(_PAIRS) if groups is None else groups
    images = _images()[:_PAIRS] if name == "supervised" else _images()
    return Inputs(images, slice(0, _PAIRS), other_groups(groups), seed=2, step=step, labels=groups)


def _images() -> torch.Tensor:
    """(2P, 3, 32, 32): coloured blots, the positives moved by 4 px."""
    random = np.random.default_rng(0)
    blots = [cv2.resize(random.normal(size=(6, 6, 3)), (36, 36), interpolation=cv2.INTER_CUBIC) for _ in range(_PAIRS)]
    views = [blot[place, place] for place in (slice(0, 32), slice(4, 36)) for blot in blots]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float()


def _train(network: Network, objective: Objective, config: TrainConfig, steps: int) -> Monitor:
    """Steps on one batch, watched as in the loop."""
    optimiser = make_optimiser(network, config, objective)
    monitor = Monitor(config.model_copy(update={"steps": steps}), objective.advice)
    for step in range(steps):
        outcome = objective(network, _inputs(config.objective, step))
        monitor.check(step + 1, outcome)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
    return monitor
