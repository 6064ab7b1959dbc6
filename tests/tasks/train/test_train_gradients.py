"""Gradients of two ranks together equal those of one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

# One rank of a gloo group: the gradients of its part of the batch, summed over ranks, go to a file.
_PROGRAM = """
import sys
import safetensors.torch
import torch
from tasks.networks.building import build_network
from tasks.train.config import TrainConfig
from tasks.train.distributed import broadcast_bytes, gather_pairs, sum_gradients
from tasks.train.objectives.ranking import compute_loss
from tasks.train.order import rank_slice

rank, ranks, store, batch, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", store=torch.distributed.FileStore(store, ranks), rank=rank, world_size=ranks
)
generator = torch.Generator().manual_seed(0)
images = torch.randn(2, batch, 3, 32, 32, generator=generator, dtype=torch.float64)
groups = torch.arange(batch) % 3
result = {}
for hard_after, both in ((0, False), (9, False), (0, True)):
    config = TrainConfig(hard_after_step=hard_after, both_hinges=both)
    network = build_network("small", 16, 1).double()
    own = images[:, rank_slice(batch, rank, ranks)].flatten(0, 1)
    outcome = compute_loss(gather_pairs(network(own), batch), groups, config, 3, 0)
    outcome.loss.backward()
    stop = sum_gradients(network.parameters(), stop=rank == 1 and both)
    assert stop == (both and ranks > 1), "one rank's wish is everybody's"
    for name, parameter in network.named_parameters():
        result[f"{hard_after}.{both}.{name}"] = parameter.grad
    result[f"{hard_after}.{both}.loss"] = outcome.loss.detach()
for data in (b"", b"checkpoint of rank 0"):
    assert broadcast_bytes(data if rank == 0 else b"another", torch.device("cpu")) == data
safetensors.torch.save_file(result, f"{out}.{rank}")
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("batch", [7])
def test_two_ranks_give_the_single_process_gradients(batch: int, tmp_path: Path) -> None:
    single = _gradients(1, batch, tmp_path / "single")
    double = _gradients(2, batch, tmp_path / "double")
    for part in double:
        assert part.keys() == single[0].keys()
        for name, expected in single[0].items():
            torch.testing.assert_close(part[name], expected, rtol=1e-10, atol=1e-10, msg=name)
    assert any(tensor.abs().max() > 1e-3 for tensor in single[0].values())


def _gradients(ranks: int, batch: int, out: Path) -> list[dict[str, torch.Tensor]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(rank), str(ranks), f"{out}.store", str(batch), str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(ranks)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * ranks
    return [safetensors.torch.load_file(f"{out}.{rank}") for rank in range(ranks)]
