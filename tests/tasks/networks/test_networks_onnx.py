"""Networks as ONNX: onnxruntime agrees with torch, and a wrong model is refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tasks.networks import NETWORKS
from tasks.networks.encoder import LAYERS, Encoder, Layer
from tasks.networks.onnx_files import onnx_file, require_onnx
from tasks.networks.weights import NetworkSpec, untrained_network

SMALL = NetworkSpec("small", embedding=16, input_px=32, seed=1)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layer", LAYERS)
def test_onnxruntime_agrees_with_torch(name: str, layer: Layer) -> None:
    # 75 px: maps whose sides the fixed grids of small and caffenet do not divide.
    encoder = Encoder(*_built(NetworkSpec(name, embedding=8, input_px=75, seed=1)), layer)
    made = onnx_file(encoder)
    assert 0 <= made.difference <= 1e-4
    session = onnxruntime.InferenceSession(made.data, providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == [
        ("images", ["batch", 3, 75, 75], "tensor(float)")
    ]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [("features", ["batch", encoder.width])]
    images = np.random.default_rng(7).integers(0, 256, (4, 3, 75, 75)).astype(np.float32)
    (found,) = session.run(None, {"images": images})
    with torch.no_grad():
        np.testing.assert_allclose(found, encoder(torch.from_numpy(images)).numpy(), rtol=1e-4, atol=1e-4)


def test_the_file_names_nothing_of_this_machine_and_is_the_same_again() -> None:
    first, second = (onnx_file(Encoder(*_built(SMALL), "backbone")).data for _ in range(2))
    assert first == second
    assert b".py" not in first
    assert b"pkg.torch" not in first
    onnx.checker.check_model(onnx.load_from_string(first))


def test_a_model_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(*_built(SMALL), "embedding")
    forward = encoder.forward

    def wrong(images: torch.Tensor) -> torch.Tensor:
        exporting = torch.compiler.is_exporting()
        return forward(images) + (0.001 if exporting else 0)

    monkeypatch.setattr(encoder, "forward", wrong)
    with pytest.raises(ValueError, match=r"onnx: the embedding as ONNX differs from torch by 0.001, more than 0.0001"):
        onnx_file(encoder)


def test_what_is_not_installed_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ValueError, match=r"onnx: onnxruntime is not installed; pip install 'tritrack\[onnx\]'"):
        require_onnx()


def _built(spec: NetworkSpec) -> tuple[torch.nn.Module, NetworkSpec]:
    return untrained_network(spec), spec
