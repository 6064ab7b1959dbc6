"""The filters of the first convolution as pictures."""

from __future__ import annotations

import math

import numpy as np
import torch

from storage.manifests import Manifest
from storage.root import Root
from tasks.evaluate.pictures import Picture, data_uri, encode_jpeg
from tasks.networks.network import Network
from tasks.networks.weights import load_network, untrained_network

_TILE_PX = 40  # of a filter on the page
_GAP_PX = 4


def filter_pictures(root: Root, trained: Manifest) -> list[tuple[str, str]]:
    """(kind of network, data URI) before and after training; raises RootError as `load_network` does."""
    network, spec = load_network(root, trained)
    kinds = {"untrained": untrained_network(spec), "trained": network}
    return [(name, data_uri(encode_jpeg(draw_filters(each), quality=92))) for name, each in kinds.items()]


def draw_filters(network: Network) -> Picture:
    """The first convolution's K filters (K, 3, k, k) as a square sheet of tiles; each is stretched to its own range."""
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    weights = first.weight.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    weights = weights[..., ::-1] if network.channels == "BGR" else weights
    low, high = (end(weights, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    pixels = np.round(255 * (weights - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    times = max(1, _TILE_PX // pixels.shape[1])
    tiles = pixels.repeat(times, axis=1).repeat(times, axis=2)
    columns = math.ceil(math.sqrt(len(tiles)))
    side = tiles.shape[1] + _GAP_PX
    sheet = np.full((math.ceil(len(tiles) / columns) * side, columns * side, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * side, number % columns * side
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet
