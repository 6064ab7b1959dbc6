"""Frozen features of image patches: of the networks that are judged, and hand-made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from tasks.evaluate.hog import hog_features
from tasks.evaluate.judged import Judged
from tasks.evaluate.pixels import colour_features, pixel_features
from tasks.networks.images import to_tensor
from tasks.networks.network import Network

Images = npt.NDArray[np.uint8]  # (B, H, W, 3), RGB
Extractor = Callable[[Images], npt.NDArray[np.float32]]  # to (B, F)
Layer = Literal["backbone", "embedding"]

BATCH_IMAGES = 128
HANDMADE: Mapping[str, Extractor] = {"hog": hog_features, "colour": colour_features, "pixels": pixel_features}


def load_extractors(judged: Judged, layer: Layer, device: torch.device) -> Mapping[str, Extractor]:
    """The extractors by kind of features: of each network, then hand-made ones; all take squares of `judged.side_px`.

    `layer`: the backbone's features (what is handed on to other tasks) or the embedding that was trained.
    """
    learned = {
        name: _network_extractor(network, layer, judged.specs[name].input_px, device)
        for name, network in judged.networks.items()
    }
    return {**learned, **HANDMADE}


def resize_squares(images: Images, side_px: int) -> Images:
    """(B, H, W, 3) -> (B, side_px, side_px, 3)."""
    if images.shape[1:3] == (side_px, side_px):
        return images
    scaled = [cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA) for image in images]
    return np.asarray(scaled, np.uint8)


def _network_extractor(network: Network, layer: Layer, side_px: int, device: torch.device) -> Extractor:
    network = network.to(device).eval()
    forward = network.backbone if layer == "backbone" else network

    def extract(images: Images) -> npt.NDArray[np.float32]:
        images = resize_squares(images, side_px)
        with torch.inference_mode():
            outputs = [
                forward(to_tensor(images[first : first + BATCH_IMAGES]).to(device)).float().cpu()
                for first in range(0, len(images), BATCH_IMAGES)
            ]
        return torch.cat(outputs).numpy()

    return extract
