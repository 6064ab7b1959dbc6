"""Devices by name, resolved once."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> torch.device:
    """`auto` takes the best device present; other names are PyTorch's. Raises ValueError for one that is absent."""
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present.get(device.split(":")[0], False):
        choices = ", ".join(["auto", *(name for name, there in present.items() if there)])
        raise ValueError(f"device: {device!r} is not present; choose one of {choices}")
    return torch.device(device)
