"""Gradients of several ranks, and of parts, equal those of the whole batch at once: every network and objective."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tasks.networks import NETWORKS
from tasks.train.objectives import OBJECTIVES

# One rank of a gloo group: the gradients of its share of the batch, fed in parts and summed over ranks, go to a file.
# CaffeNet is made narrower where it is fully connected. A large gradient is kept as every so many of its numbers.
_PROGRAM = """
import itertools, sys
import safetensors.torch
import torch
from tasks.networks import NETWORKS, caffenet
from tasks.networks.building import build_network
from tasks.train.config import TrainConfig
from tasks.train.distributed import broadcast_bytes, sum_gradients
from tasks.train.feeding import FedNetwork
from tasks.train.negatives import other_groups
from tasks.train.objectives import OBJECTIVES
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.objective import Inputs
from tasks.train.order import rank_slice

rank, ranks, parts, batch, out = *map(int, sys.argv[1:5]), sys.argv[5]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", store=torch.distributed.FileStore(f"{out}.store", ranks), rank=rank, world_size=ranks
)
caffenet._POOL5_SIDE = 1
configs = {name: {"objective": name, "images": "folder"} for name in OBJECTIVES}
configs["ranking, hard"] = {"objective": "ranking", "hard_after_step": 0, "both_hinges": True}
configs["infonce, context"] = {"objective": "infonce", "context_weight": 0.5}
generator = torch.Generator().manual_seed(0)
images = torch.randn(2, batch, 3, 48, 48, generator=generator, dtype=torch.float64)
own = rank_slice(batch, rank, ranks)
result = {}
every = itertools.product((torch.float64, torch.float32), NETWORKS)
some = [(torch.float64, "small"), (torch.float64, "caffenet")]  # parts go through every network alike
for kind, network_name in every if parts == 1 else some:
    network = build_network(network_name, 16, 1).to(kind)
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():  # else CaffeNet's first embeddings are alike, and nothing moves
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    for name, settings in configs.items():
        config = TrainConfig(**settings, accumulate=parts)
        objective = build_objective(config, network, 1, num_classes=3).to(kind)
        parameters = [*network.named_parameters(), *objective.named_parameters(prefix="objective")]
        groups, views = torch.arange(batch) % 3, images[:1] if name == "supervised" else images
        inputs = Inputs(views[:, own].flatten(0, 1).to(kind), own, other_groups(groups), 3, 0, groups)
        outcome = objective(FedNetwork(network, config), inputs)
        network.zero_grad()
        outcome.loss.backward()
        asked = name == "slowness"
        agreed = sum_gradients((one for _, one in parameters), outcome.loss, stop=asked and rank == ranks - 1)
        assert agreed == (True, asked), "one rank's wish is everybody's"
        label = f"{str(kind)[6:]}/{network_name}/{name}"
        for parameter_name, parameter in parameters:
            if parameter.grad is not None:
                step = -(-parameter.numel() // 20_000)
                result[f"{label}/{parameter_name}"] = parameter.grad.flatten()[::step].clone()
        result |= {f"{label}/{field}": value.detach() for field, value in vars(outcome).items() if value is not None}
for number, place in itertools.product((torch.nan, torch.inf), ("loss", "gradient")):  # of one rank
    loss, parameter = torch.zeros(()), torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.zeros(3)
    if rank == ranks - 1:
        (loss if place == "loss" else parameter.grad[1]).fill_(number)
    assert sum_gradients([parameter], loss, stop=False) == (False, False), "a step is left out by all or by none"
for data in (b"", b"checkpoint of rank 0"):
    assert broadcast_bytes(data if rank == 0 else b"another", torch.device("cpu")) == data
safetensors.torch.save_file(result, f"{out}.{rank}")
torch.distributed.destroy_process_group()
"""
_BATCH = 7
_TOLERANCES = {"float64": 1e-10, "float32": 1e-5}  # of the largest number of each gradient
_SMALLEST = 1e-4


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return _gradients(1, 1, tmp_path_factory.mktemp("single") / "out")[0]


def test_every_network_and_objective_has_gradients(single: dict[str, torch.Tensor]) -> None:
    for kind in _TOLERANCES:
        for network in NETWORKS:
            for objective in (*OBJECTIVES, "ranking, hard", "infonce, context"):
                label = f"{kind}/{network}/{objective}"
                found = {name: tensor for name, tensor in single.items() if name.startswith(f"{label}/")}
                assert any(tensor.abs().max() > 10 * _SMALLEST for tensor in found.values() if tensor.ndim), label
                owns = any("/objective." in name for name in found)
                assert owns == (objective in {"context", "autoencoder", "supervised", "infonce, context"}), label


@pytest.mark.parametrize(("ranks", "parts"), [pytest.param(1, 3, marks=pytest.mark.long), (2, 3), (3, 1)])
def test_ranks_and_parts_together_give_the_gradients_of_all_at_once(
    ranks: int, parts: int, single: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for part in _gradients(ranks, parts, tmp_path / "out"):
        chosen = ("float64/small/", "float64/caffenet/") if parts > 1 else ("",)
        assert part.keys() == {name for name in single if name.startswith(chosen)}
        for name in part:
            expected = single[name]
            bound = _TOLERANCES[name.split("/")[0]] * max(float(expected.abs().max()), _SMALLEST)
            torch.testing.assert_close(
                part[name], expected, rtol=0, atol=bound, msg=lambda text, n=name: f"{n}: {text}"
            )


def _gradients(ranks: int, parts: int, out: Path) -> list[dict[str, torch.Tensor]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, (rank, ranks, parts, _BATCH, out))],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(ranks)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0] * ranks
    return [safetensors.torch.load_file(f"{out}.{rank}") for rank in range(ranks)]
