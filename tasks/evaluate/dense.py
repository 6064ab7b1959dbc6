"""Dense features of whole frames: a layer's activations, and hand-made ones, by cells of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tasks.evaluate.judged import Judged
from tasks.evaluate.pixels import NUM_BINS, colour_bins
from tasks.networks.images import to_tensor
from tasks.networks.network import Network

Frame = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Dense = Callable[[Frame], torch.Tensor]  # to (C, h, w) float32, of unit length over C

SIDE_MULTIPLE = 32  # of both sides of a frame, so that the maps of all kinds cover it whole
CELL_PX = 8  # of hand-made features: the stride that label propagation is usually measured at
_MOST_STRIDE = 11  # between 8 and 16: CaffeNet pads less than it takes away, so that its 8 looks like a little more
_ORIENTATIONS = 9


def load_dense(judged: Judged, layer: str, device: torch.device) -> Mapping[str, Dense]:
    """Dense features by kind: of each network, then hand-made ones; all take frames of `SIDE_MULTIPLE` px.

    `layer`: a name of `Network.maps`, or empty for the deepest one of stride 8 or less. Raises ValueError, in one
    line, where a network has no map of that name.
    """
    learned = {name: _network_dense(network, layer, device) for name, network in judged.networks.items()}
    made = {"hog": dense_hog, "colour": dense_colour, "pixels": dense_pixels}
    return {**learned, **{name: _unit(extract, device) for name, extract in made.items()}}


def dense_hog(frame: Frame) -> npt.NDArray[np.float32]:
    """(H / 8, W / 8, 39): gradients of the 2 x 2 cells about each cell's middle, as `hog_features` has them (Dalal and
    Triggs, CVPR 2005), and the cell's mean colour, 0 to 1."""
    height, width = frame.shape[0] // CELL_PX, frame.shape[1] // CELL_PX
    half, block = CELL_PX // 2, 2 * CELL_PX
    padded = cv2.copyMakeBorder(frame, half, half, half, half, cv2.BORDER_REFLECT)
    descriptor = cv2.HOGDescriptor((block, block), (block, block), (CELL_PX,) * 2, (CELL_PX,) * 2, _ORIENTATIONS)
    gradients = np.asarray(descriptor.compute(padded, (CELL_PX, CELL_PX), (0, 0))).reshape(height, width, -1)
    colours = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.concatenate([gradients, colours], axis=2)


def dense_colour(frame: Frame) -> npt.NDArray[np.float32]:
    """(H / 8, W / 8, 64): square roots of the shares of pixels in 4 x 4 x 4 bins, over each cell and those about it."""
    height, width = frame.shape[0] // CELL_PX, frame.shape[1] // CELL_PX
    cells = np.arange(height * width).reshape(height, width).repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    counts = np.bincount((cells * NUM_BINS + colour_bins(frame)).ravel(), minlength=height * width * NUM_BINS)
    shares = cv2.blur(counts.reshape(height, width, -1).astype(np.float32), (3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.sqrt(shares / CELL_PX**2), np.float32)


def dense_pixels(frame: Frame) -> npt.NDArray[np.float32]:
    """(H / 8, W / 8, 192): the pixels of each cell, from middle grey."""
    height, width = frame.shape[0] // CELL_PX, frame.shape[1] // CELL_PX
    cells = frame.reshape(height, CELL_PX, width, CELL_PX, 3).swapaxes(1, 2).reshape(height, width, -1)
    return cells.astype(np.float32) / np.float32(255) - np.float32(0.5)


def _unit(extract: Callable[[Frame], npt.NDArray[np.float32]], device: torch.device) -> Dense:
    def dense(frame: Frame) -> torch.Tensor:
        maps = torch.from_numpy(np.ascontiguousarray(extract(frame).transpose(2, 0, 1)))
        return functional.normalize(maps.to(device), dim=0)

    return dense


def _network_dense(network: Network, layer: str, device: torch.device) -> Dense:
    network = network.to(device).eval()
    chosen = layer

    def dense(frame: Frame) -> torch.Tensor:
        nonlocal chosen
        with torch.inference_mode():
            maps = {
                name: found[0]
                for name, found in network.maps(to_tensor(frame[None]).to(device)).items()
                if found.ndim == 4
            }
            chosen = (
                chosen or [name for name, found in maps.items() if frame.shape[0] / found.shape[1] <= _MOST_STRIDE][-1]
            )
            if chosen not in maps:
                raise ValueError(f"evaluate.propagation_layer: {chosen!r} is no map; choose one of {', '.join(maps)}")
            return functional.normalize(maps[chosen].float(), dim=0)

    return dense
