"""Devices by name, resolved once."""

from __future__ import annotations

import torch

from tasks.records import Dropped
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


def require_precision(precision: str, device: torch.device) -> None:
    """Raises Dropped, in one line, where the device cannot compute in bfloat16 and the run is to."""
    if precision == "float32":
        return
    match device.type:
        case "cuda":
            able = torch.cuda.is_bf16_supported(including_emulation=False)
        case "mps":
            able = torch.backends.mps.is_macos_or_newer(14, 0)
        case _:
            able = True
    if not able:
        raise Dropped(
            "permanent",
            "no_bfloat16",
            f"train.precision: this {device.type} device has no bfloat16; set train.precision=float32",
        )
