"""Checkpoints of a running attempt: one safetensors file holds everything a resumed run needs.

Model, momentum, cursor and metrics are in one file, so that they can never be of different steps. No
generator is stored: every random number of training is a pure function of (seed, step) or (seed, epoch, pair).
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace

import safetensors.torch
import torch

from storage.root import Root
from tasks.train.attempts import checkpoint_path, checkpoint_paths, is_whole
from tasks.train.best import Best

SCHEMA = 2  # 1: without what was skipped and what was best

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` optimiser steps.

    `cursor`: samples consumed; `key`: of the unit; `seconds`: of training so far, over all attempts;
    `collapsed_steps`, `skipped_steps` and `skipped_in_a_row`: of the monitor; `network` and `momentum`: tensors by
    name, and the same of the objective's own parameters; `metrics`: (rows, 8) float64 in the order of METRIC_SCHEMA.
    """

    step: int
    cursor: int
    key: str
    seconds: float
    collapsed_steps: int
    network: dict[str, torch.Tensor]
    momentum: dict[str, torch.Tensor]
    metrics: torch.Tensor
    objective: dict[str, torch.Tensor] = field(default_factory=dict)
    objective_momentum: dict[str, torch.Tensor] = field(default_factory=dict)
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    best: Best = field(default_factory=Best)


def save_checkpoint(root: Root, attempt: str, checkpoint: Checkpoint, keep: int) -> str:
    """Write a checkpoint whole and keep the `keep` newest of the unit; returns its path below the root."""
    data = checkpoint_bytes(checkpoint)
    path = checkpoint_path(checkpoint.key, attempt, checkpoint.step, data)
    root.write_bytes(path, data)
    for old in checkpoint_paths(root, checkpoint.key)[keep:]:
        root.remove(old)
    return path


def find_checkpoint(root: Root, key: str) -> Checkpoint | None:
    """The newest readable checkpoint of the unit's attempts; damaged ones are passed over with a warning."""
    for path in checkpoint_paths(root, key):
        try:
            data = root.read_bytes(path)
        except FileNotFoundError:
            continue  # another attempt went on and removed it
        if not is_whole(path, data):
            logger.warning("%s is damaged (its bytes do not match its name); trying the one before", path)
            continue
        checkpoint = parse_checkpoint(data)
        if checkpoint is not None and checkpoint.key == key:
            return checkpoint
        logger.warning("%s is of another unit or a newer Tritrack; trying the one before", path)
    return None


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as one safetensors file, its numbers in the header's metadata."""
    tensors = {f"network.{name}": tensor for name, tensor in checkpoint.network.items()}
    tensors |= {f"objective.{name}": tensor for name, tensor in checkpoint.objective.items()}
    tensors |= {f"objective_momentum.{name}": tensor for name, tensor in checkpoint.objective_momentum.items()}
    tensors |= {f"momentum.{name}": tensor for name, tensor in checkpoint.momentum.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in checkpoint.best.network.items()}
    tensors["metrics"] = checkpoint.metrics
    header = {
        "schema": SCHEMA,
        "step": checkpoint.step,
        "cursor": checkpoint.cursor,
        "key": checkpoint.key,
        "seconds": checkpoint.seconds,
        "collapsed_steps": checkpoint.collapsed_steps,
        "skipped_steps": checkpoint.skipped_steps,
        "skipped_in_a_row": checkpoint.skipped_in_a_row,
        "best": asdict(replace(checkpoint.best, network={})),
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(plain, metadata={"tritrack": json.dumps(header)})
    return data


def parse_checkpoint(data: bytes) -> Checkpoint | None:
    """A checkpoint from its bytes; None where a newer Tritrack wrote it."""
    length = int.from_bytes(data[:8], "little")  # the safetensors format: header size, JSON header, tensors
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["tritrack"])
    if header.pop("schema") > SCHEMA:
        return None
    tensors = safetensors.torch.load(data)
    best = Best(**header.pop("best", {}) | {"network": _with_prefix(tensors, "best.")})
    return Checkpoint(
        **header,
        network=_with_prefix(tensors, "network."),
        momentum=_with_prefix(tensors, "momentum."),
        metrics=tensors["metrics"],
        objective=_with_prefix(tensors, "objective."),
        objective_momentum=_with_prefix(tensors, "objective_momentum."),
        best=best,
    )


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
