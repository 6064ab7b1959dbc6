"""Every network of the registry: interface, initialisation, sizes, and files there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import RootError, open_root
from tasks.networks import NETWORKS
from tasks.networks.building import build_network, num_parameters
from tasks.networks.images import MEAN_RGB, SCALE, to_tensor
from tasks.networks.sizes import NetworkSize, network_size
from tasks.networks.weights import NetworkSpec, load_network, network_files, untrained_network

SIZES = [
    # 3 to 24, 48, 96 and 192 channels, without biases, and GroupNorm's two numbers a channel.
    NetworkSize("small", 64, 2064, 128, 220_248, 192 * 192 + 192 + 192 * 128 + 128, 9_867_264),
    # 3 to 24, 48, 96, 96, 192 and 192 channels, without biases, and GroupNorm's two numbers a channel.
    NetworkSize("medium", 64, 3360, 128, 635_544, 192 * 192 + 192 + 192 * 128 + 128, 20_484_096),
    # As torchvision has it without its classifier: 11,176,512 parameters and 1,813,561,344 multiply-adds.
    NetworkSize("resnet18", 224, 512, 128, 11_176_512, 512 * 512 + 512 + 512 * 128 + 128, 1_813_561_344 + 512 * 640),
    # By hand from the paper's table: conv1 to conv5, then fc6 and fc7.
    NetworkSize(
        "caffenet",
        227,
        9216,
        1024,
        34_944 + 307_456 + 885_120 + 663_936 + 442_624,
        37_752_832 + 4_195_328,
        105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192 + 37_748_736 + 4_194_304,
    ),
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("side", [None, 64, 80, (48, 71)], ids=str)
def test_network_gives_unit_embeddings_and_wide_features(name: str, side: int | tuple[int, int] | None) -> None:
    network = build_network(name, embedding=24, seed=3).eval()
    images = to_tensor(_images(3, side or network.least_px))
    with torch.no_grad():
        embeddings, features = network(images), network.backbone(images)
    assert embeddings.shape == (3, 24)
    assert embeddings.dtype == features.dtype == torch.float32
    assert features.shape == (3, network.feature_width)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_by_name_are_those_that_the_network_runs(name: str) -> None:
    network = build_network(name, embedding=24, seed=3).eval()
    images = to_tensor(_images(2, 64))
    with torch.no_grad():
        maps, embeddings, features = network.maps(images), network(images), network.backbone(images)
    torch.testing.assert_close(maps["embedding"], embeddings)
    assert list(maps)[-1] == "embedding"
    sides = [each.shape[2] for each in maps.values() if each.ndim == 4]
    deep = sides[:-1] if "pool5" in maps else sides
    assert deep == sorted(deep, reverse=True)
    assert all((each >= 0).all() for layer, each in maps.items() if layer != "embedding"), "after the ReLU"
    last = [layer for layer, each in maps.items() if each.ndim == 4][-1]
    mean = maps[last].mean(dim=(2, 3)).sum()
    if name == "resnet18":
        torch.testing.assert_close(features.sum(), mean)
    if name == "caffenet":
        torch.testing.assert_close(features, maps["pool5"].flatten(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_is_embedded_by_itself(name: str) -> None:
    """No layer mixes the images of a batch, in training either: ranks with parts of a batch agree with one process."""
    network = build_network(name, embedding=16, seed=4)
    images = to_tensor(_images(3, 40))
    with torch.no_grad():
        together = network(images)
        assert network.training
        for index in range(3):
            alone = network(images[index : index + 1])
            torch.testing.assert_close(alone, together[index : index + 1], rtol=1e-4, atol=1e-5)
    assert not list(network.buffers()), "no running statistics"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    network = build_network(name, embedding=16, seed=5)
    weights = torch.randn(16, generator=torch.Generator().manual_seed(0))
    (network(to_tensor(_images(2, 64))) @ weights).sum().backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().max() > 0, path


def test_every_network_has_a_known_size() -> None:
    assert [size.name for size in SIZES] == list(NETWORKS)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_parameters_and_multiply_adds_are_those_of_the_layers(size: NetworkSize) -> None:
    assert network_size(size.name, size.embedding) == size
    network = build_network(size.name, size.embedding, seed=0)
    assert num_parameters(network) == size.backbone_parameters + size.head_parameters


def test_multiply_adds_follow_the_inputs_side() -> None:
    half, whole = (network_size("resnet18", 128, side) for side in (112, 224))
    assert (half.input_px, half.backbone_parameters) == (112, whole.backbone_parameters)
    assert half.multiply_adds == pytest.approx(whole.multiply_adds / 4, rel=0.08)  # 7 cells become 4


def test_resnet18_has_the_standard_layers() -> None:
    network = build_network("resnet18", 16, 0)
    convolutions = [
        (path, module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0], module.padding[0])
        for path, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    shapes = [shape for _, *shape in convolutions]
    expected = [[3, 64, 7, 2, 3]]
    for before, width, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        expected += [[before, width, 3, stride, 1], [width, width, 3, 1, 1]]
        expected += [[before, width, 1, stride, 0]] if stride == 2 else []
        expected += [[width, width, 3, 1, 1]] * 2
    assert shapes == expected
    for path, _, width, kernel, *_ in convolutions:
        weight = network.get_parameter(f"{path}.weight")
        he = (2 / (width * kernel**2)) ** 0.5
        assert float(weight.detach().std()) == pytest.approx(he, rel=0.05), path
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) == len(convolutions)
    with torch.no_grad():
        assert network.get_submodule("convolutions")(to_tensor(_images(1, 224))).shape == (1, 512, 7, 7)


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
    with pytest.raises(
        ValueError, match=r"network: 'resnet' is unknown; choose one of caffenet, medium, resnet18, small"
    ):
        build_network("resnet", 16, 0)


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


def _images(number: int, side: int | tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    height, width = side if isinstance(side, tuple) else (side, side)
    return np.random.default_rng(height).integers(0, 256, (number, height, width, 3), dtype=np.uint8)
