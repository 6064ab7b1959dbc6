"""Frozen features of image patches: of the networks that are judged, and hand-made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tasks.evaluate.hog import hog_features
from tasks.evaluate.judged import Judged
from tasks.evaluate.pixels import colour_features, pixel_features
from tasks.networks.images import to_tensor
from tasks.networks.network import Network

Images = npt.NDArray[np.uint8]  # (B, H, W, 3), RGB
Extractor = Callable[[Images], npt.NDArray[np.float32]]  # to (B, F)
Layer = Literal["backbone", "embedding"]
LayerExtractor = Callable[[Images], Mapping[str, npt.NDArray[np.float32]]]  # to (B, F) by layer

BACKBONE = "backbone"

BATCH_IMAGES = 128
HANDMADE: Mapping[str, Extractor] = {"hog": hog_features, "colour": colour_features, "pixels": pixel_features}


def load_extractors(judged: Judged, layer: Layer, device: torch.device) -> Mapping[str, Extractor]:
    """The extractors by kind of features: of each network, then hand-made ones.

    All take squares of one side, `judged.side_px` for that of training; a network that was trained at a smaller side
    scales them down in proportion. `layer`: the backbone's features (what is handed on to other tasks) or the embedding
    that was trained.
    """
    learned = {
        name: _network_extractor(network, layer, judged.specs[name].input_px / judged.side_px, device)
        for name, network in judged.networks.items()
    }
    return {**learned, **HANDMADE}


def load_layer_extractors(judged: Judged, most: int, device: torch.device) -> Mapping[str, LayerExtractor]:
    """By kind of features, the extractor of all layers: of networks those of `Network.maps` and the backbone, of
    hand-made features these alone, in the place of the backbone.

    Maps are averaged over a grid of fields, as fine as `most` features allow, as probes of layers usually do; all
    take squares of `judged.side_px`.
    """
    learned = {
        name: _layer_extractor(network, most, judged.specs[name].input_px / judged.side_px, device)
        for name, network in judged.networks.items()
    }
    return {**learned, **{name: _alone(extract) for name, extract in HANDMADE.items()}}


def _scaled(images: Images, share: float) -> Images:
    """(B, H, W, 3), their sides multiplied by a share of 1."""
    if share == 1:
        return images
    scaled = [cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA) for image in images]
    return np.asarray(scaled, np.uint8)


def _network_extractor(network: Network, layer: Layer, share: float, device: torch.device) -> Extractor:
    network = network.to(device).eval()
    forward = network.backbone if layer == "backbone" else network

    def extract(images: Images) -> npt.NDArray[np.float32]:
        images = _scaled(images, share)
        with torch.inference_mode():
            outputs = [
                forward(to_tensor(images[first : first + BATCH_IMAGES]).to(device)).float().cpu()
                for first in range(0, len(images), BATCH_IMAGES)
            ]
        return torch.cat(outputs).numpy()

    return extract


def _layer_extractor(network: Network, most: int, share: float, device: torch.device) -> LayerExtractor:
    network = network.to(device).eval()

    def layers(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {**network.maps(images), BACKBONE: network.backbone(images)}

    def extract(images: Images) -> dict[str, npt.NDArray[np.float32]]:
        images = _scaled(images, share)
        parts: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for first in range(0, len(images), BATCH_IMAGES):
                batch = to_tensor(images[first : first + BATCH_IMAGES]).to(device)
                for name, found in layers(batch).items():
                    parts.setdefault(name, []).append(_pooled(found, most).float().cpu())
        return {name: torch.cat(found).numpy() for name, found in parts.items()}

    return extract


def _pooled(found: torch.Tensor, most: int) -> torch.Tensor:
    """(B, F) of vectors or maps (B, C, h, w), averaged over at most `most` fields of all channels."""
    if found.ndim == 2:
        return found
    channels, height = found.shape[1:3]
    side = max(1, min(height, math.isqrt(most // channels)))
    return functional.adaptive_avg_pool2d(found, side).flatten(1)


def _alone(extract: Extractor) -> LayerExtractor:
    return lambda images: {BACKBONE: extract(images)}
