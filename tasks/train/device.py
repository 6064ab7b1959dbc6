"""Devices by name, resolved once."""

from __future__ import annotations

import torch

from tasks.train.job import Device


def resolve_device(name: Device, local_rank: int = 0) -> torch.device:
    """The device of one rank; auto takes CUDA, then the CPU (gloo cannot sum gradients that live on MPS).

    Raises ValueError for a device that is not there.
    """
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device: 'mps' is not available here; choose auto or cpu")
        return torch.device("mps")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        if torch.cuda.device_count() <= local_rank:
            found = torch.cuda.device_count()
            raise ValueError(
                f"device: rank {local_rank} needs a CUDA device of its own, {found} found; lower train.ranks"
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device("cpu")
