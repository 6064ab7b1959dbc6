"""Exported networks: what a user gets in two lines, and what is told of files that are no network."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from tasks.networks import NETWORKS, load_backbone, load_embedding
from tasks.networks.building import build_network
from tasks.networks.encoder import Encoder
from tasks.networks.exported import exported_files, is_export
from tasks.networks.images import to_tensor
from tasks.networks.weights import NetworkSpec, untrained_network
from tests.tasks.networks.conftest import SPEC


def test_planning_gets_the_names_without_torch() -> None:
    program = "import sys; from tasks.networks import NETWORKS, load_backbone; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64], ids=str)
def test_images_go_in_as_they_are(exported: Path, kind: torch.dtype) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)
    given = torch.from_numpy(images).permute(0, 3, 1, 2).to(kind)
    network = untrained_network(SPEC)
    backbone, embedding = load_backbone(exported), load_embedding(str(exported))
    assert not backbone.training
    assert not backbone.network.training
    with torch.no_grad():
        features, embeddings = backbone(given), embedding(given)
        assert torch.equal(features, network.backbone(to_tensor(images)))
        assert torch.equal(embeddings, network(to_tensor(images)))
    assert features.dtype == torch.float32
    assert features.shape == (3, backbone.width)
    assert embeddings.shape == (3, embedding.width) == (3, 16)
    assert backbone.input_px == 32


def test_weights_may_be_named_beside_their_description(exported: Path) -> None:
    (exported / "weights.safetensors").rename(exported / "tuned.safetensors")
    images = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    torch.testing.assert_close(
        load_backbone(exported / "tuned.safetensors")(images),
        Encoder(untrained_network(SPEC), SPEC, "backbone")(images),
    )
    with pytest.raises(ValueError, match=r"network: .*exported' holds no weights.safetensors; name a folder"):
        load_backbone(exported)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_comes_back(name: str, tmp_path: Path) -> None:
    spec = NetworkSpec(name, embedding=8, input_px=64, seed=2)
    network = untrained_network(spec)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.25
    for file, data in exported_files(network, spec, {}).items():
        (tmp_path / file).write_bytes(data)
    assert is_export(tmp_path)
    found = load_backbone(tmp_path).network.state_dict()
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    described = json.loads((tmp_path / "network.json").read_bytes())
    assert described.items() >= asdict(spec).items()
    assert described["feature_width"] == network.feature_width


def _change(**fields: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        described = json.loads((folder / "network.json").read_bytes()) | fields
        kept = {name: value for name, value in described.items() if value is not None}
        (folder / "network.json").write_text(json.dumps(kept))

    return damage


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _reshape(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "weights.safetensors")
        change(tensors)
        safetensors.torch.save_file(tensors, folder / "weights.safetensors")

    return damage


def _torn(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no description": (lambda folder: (folder / "network.json").unlink(), "holds no network.json"),
    "no JSON": (_write("network.json", b"{'a"), "network.json' is unusable"),
    "no text": (_write("network.json", b"\xff\xfe"), "cannot be read"),
    "a list": (_write("network.json", b"[1]"), "network.json' is unusable"),
    "another format": (_change(format="other"), "format"),
    "a field missing": (_change(embedding=None), "embedding: Field required"),
    "a field of another type": (_change(input_px="64"), "input_px"),
    "a boolean for a number": (_change(seed=True), "seed"),
    "too wide for memory": (_change(embedding=10**9), "embedding"),
    "too small for its layers": (_change(input_px=8), "input_px"),
    "an unknown network": (
        _change(name="../evil"),
        "name: '../evil' is unknown; there are caffenet, medium, resnet18, small",
    ),
    "another width": (_change(embedding=8), "head.2.bias is 16 float32, not 8 float32|head.2.weight is 16x192"),
    "another network": (_change(name="resnet18"), "it holds no convolutions"),
    "a pickle": (_write("weights.safetensors", pickle.dumps({"a": 1})), "no safetensors file"),
    "nothing": (_write("weights.safetensors", b""), "no safetensors file"),
    "a huge header": (_write("weights.safetensors", (1 << 62).to_bytes(8, "little") + b"{}"), "no safetensors file"),
    "cut short": (_torn, "no safetensors file"),
    "a tensor less": (_reshape(lambda tensors: tensors.pop("head.0.bias")), "holds no head.0.bias"),
    "a tensor more": (_reshape(lambda tensors: tensors.update(evil=torch.zeros(1))), "it holds 'evil'"),
    "half precision": (_reshape(lambda tensors: tensors.update({"head.0.bias": torch.zeros(192).half()})), "float16"),
    "not a number": (_reshape(lambda tensors: tensors["head.0.bias"].fill_(float("nan"))), "not finite"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_files_are_told_in_one_line(exported: Path, damage: str) -> None:
    change, words = DAMAGES[damage]
    change(exported)
    with pytest.raises(ValueError, match=words) as caught:
        load_backbone(exported)
    assert str(caught.value).startswith("network: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "does not exist"), ("exported/network.json", "is no folder and no .safetensors file")],
)
def test_a_place_without_a_network_is_named(exported: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"network: .*{name}' {words}; name a folder that tritrack export wrote"):
        load_backbone(exported.parent / name)


def test_caffenet_below_its_least_side_is_refused(exported: Path) -> None:
    _change(name="caffenet")(exported)
    with pytest.raises(ValueError, match=r"input_px: caffenet takes 39 px or more"):
        load_backbone(exported)


def test_other_folders_pass_for_no_export(exported: Path) -> None:
    assert is_export(exported)
    assert not is_export(exported.parent)
    (exported / "network.json").write_text('{"name": "small"}')
    assert not is_export(exported)


def test_the_features_can_be_trained_further(exported: Path) -> None:
    backbone = load_backbone(exported)
    backbone(torch.full((2, 3, 32, 32), 9.0)).sum().backward()
    assert next(backbone.parameters()).grad is not None
    assert sum(each.numel() for each in backbone.parameters()) == sum(
        each.numel() for each in build_network("small", 16, 0).parameters()
    )
