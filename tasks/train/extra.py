"""What training needs of the optional packages, told before anything runs: it needs no torch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from tasks.train.config import TrainConfig


def require_extras(config: TrainConfig) -> None:
    """Raises ValueError, naming the remedy, where Ray or a log is asked for whose package is not installed, or a log
    whose folder cannot be written to."""
    if config.launcher == "ray" and importlib.util.find_spec("ray") is None:
        raise ValueError("train.launcher: ray is not installed; pip install 'tritrack[ray]', or use torchrun")
    if not config.tensorboard:
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("train.tensorboard: tensorboard is not installed; pip install 'tritrack[tensorboard]'")
    folder = Path(config.tensorboard).expanduser().absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"train.tensorboard: {str(there)!r} is no folder that can be written to; give another one")
