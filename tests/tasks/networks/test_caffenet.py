"""CaffeNet against the paper's layer table, and layer by layer against a slow writing of Caffe's formulas in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tasks.networks.building import build_network
from tasks.networks.images import MEAN_RGB, SCALE, to_tensor
from tasks.networks.network import Network, unit_length

Array = npt.NDArray[np.float64]

# rank_scripts/rank_alexnet/imagenet_train.prototxt: outputs, inputs a group, kernel, stride, pad, groups, std, bias.
CONVOLUTIONS = {
    "conv1": (96, 3, 11, 4, 0, 1, 0.01, 0.0),
    "conv2": (256, 48, 5, 1, 2, 2, 0.01, 1.0),
    "conv3": (384, 256, 3, 1, 1, 1, 0.01, 0.0),
    "conv4": (384, 192, 3, 1, 1, 2, 0.01, 1.0),
    "conv5": (256, 192, 3, 1, 1, 2, 0.01, 1.0),
}
LINEAR = {"fc6": (4096, 9216, 0.005, 1.0), "fc7": (1024, 4096, 0.005, 1.0)}
ORDER = [
    *("conv1", "relu1", "pool1", "norm1"),
    *("conv2", "relu2", "pool2", "norm2"),
    *("conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5", "fixed5"),
    *("fc6", "relu6", "fc7", "relu7"),
]
BGR_MEANS = (96.64, 102.75, 107.99)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.set_num_threads(2)
    return build_network("caffenet", 1024, 5).eval()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_the_papers(network: Network, name: str) -> None:
    layer = network.get_submodule(f"convolutions.{name}")
    assert isinstance(layer, torch.nn.Conv2d)
    outputs, inputs, kernel, stride, pad, groups, std, bias = CONVOLUTIONS[name]
    assert layer.weight.shape == (outputs, inputs, kernel, kernel)
    assert (layer.stride, layer.padding, layer.groups) == ((stride, stride), (pad, pad), groups)
    assert layer.dilation == (1, 1)
    _starts_from(layer, std, bias)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_layer_is_the_papers(network: Network, name: str) -> None:
    layer = network.get_submodule(f"head.{name}")
    assert isinstance(layer, torch.nn.Linear)
    outputs, inputs, std, bias = LINEAR[name]
    assert layer.weight.shape == (outputs, inputs)
    _starts_from(layer, std, bias)


def _starts_from(layer: torch.nn.Conv2d | torch.nn.Linear, std: float, bias: float) -> None:
    weight = layer.weight.detach().double()
    assert float(weight.std()) == pytest.approx(std, rel=0.03)
    assert abs(float(weight.mean())) < 5 * std / math.sqrt(weight.numel())
    assert layer.bias is not None
    assert set(layer.bias.tolist()) == {bias}


def test_order_pooling_and_normalisation_are_the_papers(network: Network) -> None:
    layers = {path.split(".")[1]: module for path, module in network.named_modules() if path.count(".") == 1}
    assert list(layers) == ORDER
    for name, layer in layers.items():
        if name.startswith("pool"):
            assert isinstance(layer, torch.nn.MaxPool2d)
            assert (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode) == (3, 2, 0, True)
        if name.startswith("norm"):
            assert isinstance(layer, torch.nn.LocalResponseNorm)
            assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 1.0)
    assert not any(isinstance(module, torch.nn.Dropout) for module in network.modules())
    assert network.bias_rate == 2


def test_input_is_bgr_minus_the_means_of_the_authors(network: Network) -> None:
    image = np.array([10, 60, 200], np.uint8).reshape(1, 1, 1, 3).repeat(64, 1).repeat(64, 2)  # RGB
    (seen,) = _inputs_of(network, "convolutions.conv1", to_tensor(image))
    expected = np.array([200, 60, 10]) - np.array(BGR_MEANS)
    np.testing.assert_allclose(seen[:, :, 0, 0].numpy()[0], expected, rtol=1e-5)
    assert BGR_MEANS[::-1] == MEAN_RGB


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [
        (79, 91, {"conv1": (18, 21), "pool1": (9, 10), "pool2": (4, 5), "pool5": (2, 2), "fixed5": (6, 6)}),
        (227, 227, {"conv1": (55, 55), "pool1": (27, 27), "pool2": (13, 13), "pool5": (6, 6), "fixed5": (6, 6)}),
    ],
    ids=["odd sides, where floor and ceil differ", "227 px, as in the paper"],
)
def test_every_layer_computes_caffes_formula(height: int, width: int, sides: dict[str, tuple[int, int]]) -> None:
    network = build_network("caffenet", 24, 7).double().eval()
    images = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    outputs: dict[str, torch.Tensor] = {}
    for path, module in network.named_modules():
        if path.count(".") == 1:
            module.register_forward_hook(_keep(outputs, path.split(".")[1]))
    inputs = to_tensor(images).double()
    with torch.no_grad():
        embeddings = network(inputs)

    expected = (inputs.numpy() * SCALE)[:, ::-1]
    weights = {path.split(".")[1]: module for path, module in network.named_modules() if path.count(".") == 1}
    for name in ORDER:
        expected = _layer(name, weights[name], expected)
        np.testing.assert_allclose(outputs[name].numpy(), expected, rtol=1e-9, atol=1e-10, err_msg=name)
        if name in sides:
            assert expected.shape[2:] == sides[name], name
        if name == "fixed5":
            expected = expected.reshape(2, -1)
            np.testing.assert_allclose(_features(network, inputs), expected, rtol=1e-9, atol=1e-10)
    length = np.sqrt((expected**2).sum(1, keepdims=True))
    np.testing.assert_allclose(embeddings.numpy(), expected / (length + 1e-6), rtol=1e-9, atol=1e-12)


def test_smaller_images_are_refused_in_one_line(network: Network) -> None:
    with pytest.raises(ValueError, match=r"input_px: caffenet takes images of 39 px or more, not 64 x 38"):
        network(torch.zeros(1, 3, 38, 64))


def test_the_unit_length_keeps_the_authors_epsilon() -> None:
    """Short vectors tell 1e-6 added to the length from one added to its square or from a maximum."""
    short = torch.tensor([[3e-6, 4e-6]], dtype=torch.float64)
    np.testing.assert_allclose(unit_length(short).numpy(), [[0.5, 4 / 6]], rtol=1e-12)


def _layer(name: str, layer: torch.nn.Module, x: Array) -> Array:
    kind = name.rstrip("0123456789")
    if kind == "conv":
        _, _, kernel, stride, pad, groups, _, _ = CONVOLUTIONS[name]
        weight, bias = (layer.get_parameter(part).detach().numpy() for part in ("weight", "bias"))
        return _convolve(x, weight, bias, kernel, stride, pad, groups)
    if kind == "fc":
        weight, bias = (layer.get_parameter(part).detach().numpy() for part in ("weight", "bias"))
        return np.stack([weight @ row + bias for row in x])
    return {"relu": _relu, "pool": _pool, "norm": _normalise, "fixed": _average}[kind](x)


def _convolve(x: Array, weight: Array, bias: Array, kernel: int, stride: int, pad: int, groups: int) -> Array:
    """One output cell at a time; outputs and inputs are cut into groups that do not see each other."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    sides = [(side - kernel) // stride + 1 for side in x.shape[2:]]
    outputs, inputs = weight.shape[:2]
    result = np.empty((len(x), outputs, *sides))
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        columns = slice(group * inputs, (group + 1) * inputs)
        flat = weight[rows].reshape(-1, inputs * kernel**2)
        for top, left in np.ndindex(*sides):
            window = x[:, columns, top * stride : top * stride + kernel, left * stride : left * stride + kernel]
            result[:, rows, top, left] = window.reshape(len(x), -1) @ flat.T + bias[rows]
    return result


def _relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def _pool(x: Array) -> Array:
    """Caffe's pooling_layer.cpp: the side is rounded up, and the last window may stick out."""
    sides = [math.ceil((side - 3) / 2) + 1 for side in x.shape[2:]]
    result = np.empty((*x.shape[:2], *sides))
    for top, left in np.ndindex(*sides):
        result[:, :, top, left] = x[:, :, 2 * top : 2 * top + 3, 2 * left : 2 * left + 3].max(axis=(2, 3))
    return result


def _normalise(x: Array) -> Array:
    """Caffe's lrn_layer.cpp, across channels: alpha is divided by the window's size."""
    result = np.empty_like(x)
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - 2) : channel + 3]
        result[:, channel] = x[:, channel] / (1 + 1e-4 / 5 * (near**2).sum(1)) ** 0.75
    return result


def _average(x: Array) -> Array:
    """To 6 x 6 cells, each the mean of the cells that it overlaps; a 6 x 6 map stays as it is."""
    height, width = x.shape[2:]
    result = np.empty((*x.shape[:2], 6, 6))
    for top, left in np.ndindex(6, 6):
        rows = slice(top * height // 6, math.ceil((top + 1) * height / 6))
        columns = slice(left * width // 6, math.ceil((left + 1) * width / 6))
        result[:, :, top, left] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def _keep(outputs: dict[str, torch.Tensor], name: str) -> Callable[..., None]:
    def hook(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        outputs[name] = output.clone()  # the next ReLU works in place

    return hook


def _inputs_of(network: Network, path: str, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    seen: list[tuple[torch.Tensor, ...]] = []
    handle = network.get_submodule(path).register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    with torch.no_grad():
        network(images)
    handle.remove()
    return seen[0]


def _features(network: Network, images: torch.Tensor) -> Array:
    with torch.no_grad():
        return network.backbone(images).numpy()
