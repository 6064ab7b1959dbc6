"""A network as files and back: safetensors for the weights, JSON for what they belong to; no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import safetensors.torch
import torch

from storage.manifests import Manifest, read_file
from storage.root import Root, RootError
from tasks.networks.building import build_network
from tasks.networks.network import Network

WEIGHTS, DESCRIPTION = "weights.safetensors", "network.json"  # a unit's files, and an export's


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is apart from its weights: `embedding` its width, `input_px` the side it was trained at,
    `seed` that of its initial weights."""

    name: str
    embedding: int
    input_px: int
    seed: int


def network_files(network: Network, spec: NetworkSpec) -> dict[str, bytes]:
    """A unit's files `WEIGHTS` and `DESCRIPTION`; equal weights give equal bytes."""
    return {
        WEIGHTS: weights_bytes(network.state_dict()),
        DESCRIPTION: json.dumps(asdict(spec), indent=1).encode(),
    }


def weights_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """Tensors by name as one safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(plain)
    return data


def load_network(root: Root, manifest: Manifest) -> tuple[Network, NetworkSpec]:
    """The trained network of a train unit, on the CPU, in evaluation mode.

    Raises RootError where a file is damaged or missing.
    """
    if missing := {WEIGHTS, DESCRIPTION} - set(manifest.files):
        raise RootError(f"root: {manifest.stage} unit {manifest.key[:16]} holds no {', '.join(sorted(missing))}")
    spec = NetworkSpec(**json.loads(read_file(root, manifest.files[DESCRIPTION])))
    network = untrained_network(spec)
    network.load_state_dict(safetensors.torch.load(read_file(root, manifest.files[WEIGHTS])))
    return network, spec


def untrained_network(spec: NetworkSpec) -> Network:
    """The same network with the weights that training started from, on the CPU, in evaluation mode."""
    return build_network(spec.name, spec.embedding, spec.seed).eval()
