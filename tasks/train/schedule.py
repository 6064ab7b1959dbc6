"""The optimiser and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tasks.networks.network import Network
from tasks.train.config import TrainConfig

_STEP_FACTOR = 0.1  # the authors' solver: gamma 0.1
_SECOND_BETA = 0.999  # Loshchilov and Hutter, ICLR 2019, and torch's default
_MOMENTUM = "momentum_buffer"  # SGD's only state


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step `step`, counted from 0."""
    warmth = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "step":
        return float(config.learning_rate * warmth * _STEP_FACTOR ** (step // config.decay_every_steps))
    return config.learning_rate * warmth * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def make_optimiser(network: Network, config: TrainConfig, objective: nn.Module | None = None) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; biases and normalisation weights do not decay (Caffe: bias decay_mult 0).

    The group's `rate` multiplies the learning rate: 2 for the biases of CaffeNet. `objective`: whose parameters are
    trained beside the network's.
    """
    groups = _groups(network, config, network.bias_rate)
    if objective is not None:
        groups += _groups(objective, config, 1.0)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, _SECOND_BETA))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]


def momentum_tensors(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimiser keeps of each parameter; none before the first step.

    SGD's momentum buffers by their parameter's name, AdamW's by `<name>|<what>`.
    """
    return {
        name if what == _MOMENTUM else f"{name}|{what}": tensor
        for name, parameter in module.named_parameters()
        for what, tensor in optimiser.state.get(parameter, {}).items()
        if tensor is not None
    }


def restore_momentum(module: nn.Module, optimiser: torch.optim.Optimizer, buffers: dict[str, torch.Tensor]) -> None:
    """Put the buffers of `momentum_tensors` back, in each parameter's memory layout."""
    parameters = dict(module.named_parameters())
    for label, tensor in buffers.items():
        name, _, what = label.partition("|")
        parameter = parameters[name]
        buffer = tensor.clone()  # AdamW's number of steps stays on the CPU
        if tensor.shape == parameter.shape:
            buffer = torch.empty_like(parameter, requires_grad=False)
            buffer.copy_(tensor)
        optimiser.state[parameter][what or _MOMENTUM] = buffer


def _groups(module: nn.Module, config: TrainConfig, bias_rate: float) -> list[dict[str, Any]]:
    named = list(module.named_parameters())
    weights = [parameter for _, parameter in named if parameter.ndim > 1]
    scales = [parameter for name, parameter in named if parameter.ndim <= 1 and not name.endswith("bias")]
    biases = [parameter for name, parameter in named if parameter.ndim <= 1 and name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay, "rate": 1.0},
        {"params": scales, "weight_decay": 0.0, "rate": 1.0},
        {"params": biases, "weight_decay": 0.0, "rate": bias_rate},
    ]
    return [group for group in groups if group["params"]]
