"""What training needs of the optional packages, told before anything runs: it needs no torch."""

from __future__ import annotations

import importlib.util

from tasks.train.config import TrainConfig


def require_tensorboard(config: TrainConfig) -> None:
    """Raises ValueError, naming the remedy, where a log is asked for and its package is not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("train.tensorboard: tensorboard is not installed; pip install 'tritrack[tensorboard]'")
