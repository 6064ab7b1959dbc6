"""Frozen features of image patches: of the trained network, of the same network untrained, and hand-made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from storage.manifests import Manifest
from storage.root import Root
from tasks.evaluate.hog import hog_features
from tasks.networks.images import to_tensor
from tasks.networks.network import Network
from tasks.networks.weights import load_network, untrained_network

Images = npt.NDArray[np.uint8]  # (B, H, W, 3), RGB
Extractor = Callable[[Images], npt.NDArray[np.float32]]  # to (B, F)
Layer = Literal["backbone", "embedding"]

BATCH_IMAGES = 128


def load_extractors(
    root: Root, train: Manifest, layer: Layer, device: torch.device
) -> tuple[Mapping[str, Extractor], int]:
    """The extractors by kind of features, and the side in px of the square images that they take.

    `layer`: the backbone's features (what is handed on to other tasks) or the embedding that was trained.
    """
    network, spec = load_network(root, train)
    extractors: Mapping[str, Extractor] = {
        "trained": _network_extractor(network, layer, device),
        "untrained": _network_extractor(untrained_network(spec), layer, device),
        "hog": hog_features,
    }
    return extractors, spec.input_px


def _network_extractor(network: Network, layer: Layer, device: torch.device) -> Extractor:
    network = network.to(device).eval()
    forward = network.backbone if layer == "backbone" else network

    def extract(images: Images) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            outputs = [
                forward(to_tensor(images[first : first + BATCH_IMAGES]).to(device)).float().cpu()
                for first in range(0, len(images), BATCH_IMAGES)
            ]
        return torch.cat(outputs).numpy()

    return extract
