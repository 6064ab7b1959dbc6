"""Where training begins: at fresh weights, at those of a trained unit, or where a trained unit ended."""

from __future__ import annotations

from dataclasses import replace

import torch

from storage.manifests import Manifest, read_file, require_manifest
from storage.root import Root, RootError
from tasks.networks.network import Network
from tasks.networks.weights import load_network
from tasks.records import METRIC_SCHEMA
from tasks.train.checkpoint import Checkpoint, checkpoint_bytes, find_checkpoint, parse_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.continuing import STATE, require_continuable

_HEAD = "head."  # of the names of a network's tensors; all others are its convolutions


def begin(root: Root, key: str, config: TrainConfig, network: Network) -> Checkpoint:
    """The state that a run of the unit `key` begins with; `network` is a fresh one, to compare with.

    The newest checkpoint of the unit itself comes first, then what the configuration names. Raises ValueError where
    that does not fit, RootError where it is missing or damaged.
    """
    if found := find_checkpoint(root, key):
        return found
    fresh = Checkpoint(0, 0, key, 0.0, 0, {}, {}, torch.zeros(0, len(METRIC_SCHEMA), dtype=torch.float64))
    if config.continue_from:
        return _continued(root, key, config)
    if config.init_from:
        weights = _weights(root, require_manifest(root, "train", config.init_from))
        if config.init_part == "convolutions":
            weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_HEAD)}
        _require_fit(weights, network, config)
        return replace(fresh, network=weights)
    return fresh


def state_bytes(checkpoint: Checkpoint) -> bytes:
    """The file `STATE` of a run that ended so; equal runs give equal bytes, so no time is in it."""
    return checkpoint_bytes(replace(checkpoint, network={}, seconds=0.0))


def _continued(root: Root, key: str, config: TrainConfig) -> Checkpoint:
    manifest = require_manifest(root, "train", config.continue_from)
    require_continuable(manifest, config)
    state = parse_checkpoint(read_file(root, manifest.files[STATE]))
    if state is None:
        raise RootError(f"root: {manifest.files[STATE].path} is of a newer Tritrack; update Tritrack")
    return replace(state, key=key, network=_weights(root, manifest))


def _weights(root: Root, manifest: Manifest) -> dict[str, torch.Tensor]:
    network, _ = load_network(root, manifest)
    return network.state_dict()


def _require_fit(weights: dict[str, torch.Tensor], network: Network, config: TrainConfig) -> None:
    own = network.state_dict()
    for name, tensor in weights.items():
        if name not in own or own[name].shape != tensor.shape:
            shape = f"{tuple(own[name].shape)} here" if name in own else f"not in {config.network}"
            raise ValueError(
                f"train.init_from: {config.init_from[:16]} holds {name} {tuple(tensor.shape)}, {shape}; choose its "
                "network and embedding, or train.init_part=convolutions"
            )
