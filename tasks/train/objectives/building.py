"""Objectives by name, with weights that are a pure function of the seed."""

from __future__ import annotations

import dataclasses

import torch

from tasks.networks.network import Network
from tasks.train.config import TrainConfig
from tasks.train.objectives import OBJECTIVES
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.objectives.outcome import Outcome
from tasks.train.randomness import OBJECTIVE, hashed
from tasks.variants import load_variant


def build_objective(config: TrainConfig, network: Network, seed: int, num_classes: int = 0) -> Objective:
    """The configured objective for a network, on the CPU; torch's generator of the caller stays as it was.

    `num_classes`: of the images, where it learns to tell them apart. Raises ValueError for an unknown name.
    """
    objective = _build(config.objective, config, network, seed, num_classes)
    if config.context_weight == 0:
        return objective
    return WithContext(objective, _build("context", config, network, seed, num_classes), config.context_weight)


class WithContext(Objective):
    """An objective of pairs and, with a weight, the relative position of patches within each image."""

    def __init__(self, pairs: Objective, context: Objective, weight: float) -> None:
        super().__init__()
        self.pairs, self.context, self.weight, self.advice = pairs, context, weight, pairs.advice

    def forward(self, network: Network, inputs: Inputs) -> Outcome:
        """The first one's outcome, its loss plus `weight` times the other's."""
        outcome: Outcome = self.pairs(network, inputs)
        return dataclasses.replace(outcome, loss=outcome.loss + self.weight * self.context(network, inputs).loss)


def _build(name: str, config: TrainConfig, network: Network, seed: int, num_classes: int) -> Objective:
    module = load_variant(OBJECTIVES, name, "objective")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(hashed(OBJECTIVE, seed)[0]))
        objective: Objective = module.build(config, network, num_classes)
    return objective
