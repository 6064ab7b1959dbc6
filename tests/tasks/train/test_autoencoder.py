"""The autoencoder objective against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.networks.building import build_network
from tasks.train.config import TrainConfig
from tasks.train.negatives import other_groups
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.objective import Inputs


@pytest.mark.usefixtures("alone")
def test_autoencoder_loss_equals_the_slow_reference() -> None:
    network = build_network("small", 16, 1).double()
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = build_objective(TrainConfig(objective="autoencoder"), network, 4).double()
    outcome = objective(network, Inputs(images, slice(0, 3), other_groups(torch.arange(3)), seed=0, step=0))
    first, bias, second, last = (tensor.detach().numpy() for tensor in objective.parameters())
    targets = images.numpy().reshape(6, 3, 32, 2, 32, 2).mean(axis=(3, 5)).reshape(6, -1)
    with torch.no_grad():
        features = network.backbone(images).numpy()
    errors = [
        np.mean((second @ np.maximum(first @ features[number] + bias, 0) + last - targets[number]) ** 2)
        for number in range(6)
    ]
    assert float(outcome.loss.detach()) == pytest.approx(np.mean(errors), abs=1e-10)
    gap = max(0, 1 - np.mean(errors) / targets.var(axis=0).mean())
    assert float(outcome.collapse_gap) == pytest.approx(gap, abs=1e-10)
    assert outcome.positive_cosine is outcome.active_share is None


@pytest.mark.usefixtures("alone")
def test_drawing_the_mean_image_is_as_good_as_collapse() -> None:
    network = build_network("small", 16, 1).double()
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = build_objective(TrainConfig(objective="autoencoder"), network, 4).double()
    inputs = Inputs(images, slice(0, 3), other_groups(torch.arange(3)), seed=0, step=0)
    *_, weight, bias = objective.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(images.flatten(1).mean(dim=0))
    assert float(objective(network, inputs).collapse_gap) == pytest.approx(0)
