"""Networks as ONNX files, each checked against torch before anyone sees it."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tasks.networks.encoder import Encoder

INPUT, OUTPUT = "images", "features"
_LARGEST_DIFFERENCE = 1e-4
_BATCHES = (1, 3)  # two, so that the size of the batch is known to be free
_NEEDED = ("onnx", "onnxscript", "onnxruntime")  # onnxscript does the export, for torch


@dataclass(frozen=True)
class OnnxFile:
    """One layer's ONNX model. `difference`: the largest between onnxruntime's vectors and torch's, in units of the
    largest value where that is above 1."""

    data: bytes
    difference: float


def require_onnx() -> None:
    """Raises ValueError, naming the remedy, where a package of the extra `onnx` is not installed."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise ValueError(f"onnx: {', '.join(missing)} is not installed; pip install 'tritrack[onnx]'")


def onnx_file(encoder: Encoder) -> OnnxFile:
    """The encoder as an ONNX model, run by onnxruntime beside torch on random images.

    Its input `images` is (batch, 3, side, side) float32, RGB from 0 to 255, of any batch and of the side that the
    network was trained at, since pooling to a fixed grid has no ONNX form for free sides; its output `features` is
    (batch, width) float32. Raises ValueError where the two differ by more than 1e-4.
    """
    require_onnx()
    import onnx

    side = encoder.input_px
    with _quiet():
        program = torch.onnx.export(
            encoder,
            (torch.zeros(2, 3, side, side),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "torch returns the program unless it is asked for the older exporter"
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # stack traces with this machine's paths
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    difference = _difference(encoder, data)
    if not difference <= _LARGEST_DIFFERENCE:
        raise ValueError(
            f"onnx: the {encoder.layer} as ONNX differs from torch by {difference:.2g}, more than "
            f"{_LARGEST_DIFFERENCE:g}, so nothing was written; try another version of onnxruntime"
        )
    return OnnxFile(data, difference)


def _difference(encoder: Encoder, data: bytes) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    largest = 0.0
    for batch in _BATCHES:
        shape = (batch, 3, encoder.input_px, encoder.input_px)
        images = random.integers(0, 256, shape).astype(np.float32)
        (found,) = session.run([OUTPUT], {INPUT: images})
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(images)).numpy()
        scale = max(1.0, float(np.abs(expected).max()))
        largest = max(largest, float(np.abs(found - expected).max()) / scale)
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on torchvision, which nothing here uses, and on its own deprecations."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
