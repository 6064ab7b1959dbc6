"""Every network of the registry: interface, initialisation, and files there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import RootError, open_root
from tasks.networks import NETWORKS
from tasks.networks.building import build_network, num_parameters
from tasks.networks.images import MEAN_RGB, SCALE, to_tensor
from tasks.networks.weights import NetworkSpec, load_network, network_files, untrained_network


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("side", [64, 80])
def test_network_gives_unit_embeddings_and_wide_features(name: str, side: int) -> None:
    network = build_network(name, embedding=24, seed=3).eval()
    images = to_tensor(_images(3, side))
    with torch.no_grad():
        embeddings, features = network(images), network.backbone(images)
    assert embeddings.shape == (3, 24)
    assert embeddings.dtype == features.dtype == torch.float32
    assert features.shape == (3, network.feature_width)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_follow_the_seed_and_leave_the_generator_alone(name: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, same, other = (build_network(name, 16, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_images_are_normalised_by_channel() -> None:
    images = _images(2, 5)
    expected = (images.astype(np.float64) - np.array(MEAN_RGB)) / SCALE
    np.testing.assert_allclose(to_tensor(images).numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-6)
    assert to_tensor(images).dtype == torch.float32


def test_unknown_network_names_the_choices() -> None:
    with pytest.raises(ValueError, match=r"network: 'resnet' is unknown; choose one of caffenet, small"):
        build_network("resnet", 16, 0)


def test_caffenet_has_the_papers_sizes() -> None:
    network = build_network("caffenet", 1024, 0)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes == {
        "convolutions.conv1.weight": (96, 3, 11, 11),
        "convolutions.conv1.bias": (96,),
        "convolutions.conv2.weight": (256, 48, 5, 5),
        "convolutions.conv2.bias": (256,),
        "convolutions.conv3.weight": (384, 256, 3, 3),
        "convolutions.conv3.bias": (384,),
        "convolutions.conv4.weight": (384, 192, 3, 3),
        "convolutions.conv4.bias": (384,),
        "convolutions.conv5.weight": (256, 192, 3, 3),
        "convolutions.conv5.bias": (256,),
        "head.fc6.weight": (4096, 9216),
        "head.fc6.bias": (4096,),
        "head.fc7.weight": (1024, 4096),
        "head.fc7.bias": (1024,),
    }
    assert num_parameters(network) == sum(int(np.prod(shape)) for shape in shapes.values())
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert set(parameter.tolist()) == {0.0 if "conv1" in name or "conv3" in name else 1.0}, name
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.005 if "fc" in name else 0.01, rel=0.03), name


def test_caffenet_computes_the_papers_layers() -> None:
    """Against a second writing of PAPER.md's table: functional, groups as separate convolutions, LRN as a sum."""
    network = build_network("caffenet", 16, 5).eval()
    images = to_tensor(_images(1, 227))
    weights = network.state_dict()

    def convolve(x: torch.Tensor, name: str, groups: int = 1, **kwargs: int) -> torch.Tensor:
        weight, bias = weights[f"convolutions.{name}.weight"], weights[f"convolutions.{name}.bias"]
        parts = zip(x.chunk(groups, 1), weight.chunk(groups), bias.chunk(groups), strict=True)
        return torch.cat([F.conv2d(*part, **kwargs) for part in parts], 1).relu()

    with torch.no_grad():
        # BGR in 0 to 255 minus the channel means.
        pixels = (images * SCALE)[:, [2, 1, 0]]
        x = _lrn(F.max_pool2d(convolve(pixels, "conv1", stride=4), 3, 2))
        assert x.shape == (1, 96, 27, 27)
        x = _lrn(F.max_pool2d(convolve(x, "conv2", groups=2, padding=2), 3, 2))
        assert x.shape == (1, 256, 13, 13)
        x = convolve(convolve(x, "conv3", padding=1), "conv4", groups=2, padding=1)
        x = F.max_pool2d(convolve(x, "conv5", groups=2, padding=1), 3, 2)
        assert x.shape == (1, 256, 6, 6)
        torch.testing.assert_close(network.backbone(images), x.flatten(1), rtol=1e-4, atol=1e-4)
        for name in ("fc6", "fc7"):
            x = (x.flatten(1) @ weights[f"head.{name}.weight"].T + weights[f"head.{name}.bias"]).relu()
        torch.testing.assert_close(network(images), x / (x.norm() + 1e-6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_files_bring_the_network_back(layout: torch.memory_format, tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    spec = NetworkSpec("small", embedding=16, input_px=64, seed=9)
    network = untrained_network(spec).to(memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.25
    files = network_files(network, spec)
    assert json.loads(files["network.json"]) == {"name": "small", "embedding": 16, "input_px": 64, "seed": 9}
    manifest = commit(root, KeyDocument(Recipe("train", 1)), files)
    loaded, same_spec = load_network(root, manifest)
    assert same_spec == spec
    assert not loaded.training
    assert network_files(loaded, spec) == files
    images = to_tensor(_images(2, 64))
    torch.testing.assert_close(loaded(images), network.eval()(images))


def test_damaged_or_missing_files_are_named(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    spec = NetworkSpec("small", 16, 64, 0)
    manifest = commit(root, KeyDocument(Recipe("train", 1)), network_files(untrained_network(spec), spec))
    root.write_bytes(manifest.files["weights.safetensors"].path, b"torn")
    with pytest.raises(RootError, match=r"weights-.* is damaged"):
        load_network(root, manifest)
    empty = Manifest("train", manifest.key, {}, {})
    with pytest.raises(RootError, match=r"holds no network.json, weights.safetensors"):
        load_network(root, empty)


def _images(number: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(side).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


def _lrn(x: torch.Tensor) -> torch.Tensor:
    """x / (1 + 1e-4 / 5 * sum of the squares of 5 neighbouring channels) ^ 0.75."""
    squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, shift : shift + x.shape[1]] for shift in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75
