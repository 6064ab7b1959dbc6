"""Exported networks: a folder with weights.safetensors and network.json that needs no root; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.networks import NETWORKS
from tasks.networks.encoder import Encoder, Layer
from tasks.networks.images import MEAN_RGB, SCALE
from tasks.networks.network import Network
from tasks.networks.weights import DESCRIPTION, WEIGHTS, NetworkSpec, network_files, untrained_network

_FORMAT = "tritrack network 1"
_REMEDY = "name a folder that tritrack export wrote"


class _Description(BaseModel):
    """What network.json must say; fields beside these are for readers."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal["tritrack network 1"]
    name: str
    embedding: int = Field(ge=1, le=4096)
    input_px: int = Field(ge=32, le=512)
    seed: int = Field(ge=0)


def exported_files(network: Network, spec: NetworkSpec, origin: Mapping[str, str | int]) -> dict[str, bytes]:
    """The files of an export: the weights as training committed them, and what they belong to.

    network.json holds the fields of NetworkSpec, the width of the features, how inputs are normalised
    ((pixel - mean_rgb) / scale) and, under "origin", where the network comes from.
    """
    described = {
        "format": _FORMAT,
        **asdict(spec),
        "feature_width": network.feature_width,
        "mean_rgb": MEAN_RGB,
        "scale": SCALE,
        "origin": dict(origin),
    }
    return {
        WEIGHTS: network_files(network, spec)[WEIGHTS],
        DESCRIPTION: (json.dumps(described, indent=1) + "\n").encode(),
    }


def is_export(folder: Path) -> bool:
    """Whether a folder holds a network.json of an export, of whatever network."""
    try:
        _read_spec(folder)
    except ValueError:
        return False
    return True


def load_exported(path: str | Path, layer: Layer) -> Encoder:
    """One layer of an exported network, on the CPU; `tasks.networks.load_backbone` says what `path` may be.

    Raises ValueError, in one line, for files that are missing, damaged or of another network.
    """
    network, spec = read_exported(path)
    return Encoder(network, spec, layer)


def read_exported(path: str | Path) -> tuple[Network, NetworkSpec]:
    """An exported network, on the CPU, in evaluation mode; raises as `load_exported` does."""
    given = Path(path)
    folder, weights = (given, given / WEIGHTS) if given.is_dir() else (given.parent, given)
    if not given.is_dir() and given.suffix != ".safetensors":
        what = "is no folder and no .safetensors file" if given.exists() else "does not exist"
        raise ValueError(f"network: {str(given)!r} {what}; {_REMEDY}")
    spec = _read_spec(folder)
    network = untrained_network(spec)
    if spec.input_px < network.least_px:
        raise _bad(folder / DESCRIPTION, f"input_px: {spec.name} takes {network.least_px} px or more")
    network.load_state_dict(_read_weights(weights, network))
    return network, spec


def _read_spec(folder: Path) -> NetworkSpec:
    path = folder / DESCRIPTION
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"network: {str(folder)!r} holds no {DESCRIPTION}; {_REMEDY}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, f"cannot be read, {_first_line(error)}") from error
    try:
        described = _Description.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise _bad(path, f"{field}: {first['msg']}" if field else first["msg"]) from error
    if described.name not in NETWORKS:
        raise _bad(path, f"name: {described.name!r} is unknown; there are {', '.join(sorted(NETWORKS))}")
    return NetworkSpec(described.name, described.embedding, described.input_px, described.seed)


def _read_weights(path: Path, network: Network) -> dict[str, torch.Tensor]:
    """The tensors of a file, once they are known to be the network's."""
    try:
        found: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"network: {str(path.parent)!r} holds no {path.name}; {_REMEDY}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise _bad(path, f"no safetensors file, {_first_line(error)}") from error
    expected = network.state_dict()
    if missing := sorted(expected.keys() - found.keys()):
        raise _bad(path, f"of another network, it holds no {missing[0]}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise _bad(path, f"of another network, it holds {unknown[0]!r}")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise _bad(path, f"of another network, {name} is {_kind(found[name])}, not {_kind(tensor)}")
        if not found[name].isfinite().all():
            raise _bad(path, f"{name} holds numbers that are not finite")
    return found


def _kind(tensor: torch.Tensor) -> str:
    return f"{'x'.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}"


def _bad(path: Path, what: str) -> ValueError:
    return ValueError(f"network: {str(path)!r} is unusable ({what}); export the network again")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
