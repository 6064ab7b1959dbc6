"""Image files of every kind that is read, and an exported network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tasks.networks.exported import exported_files
from tasks.networks.weights import NetworkSpec, untrained_network

SPEC = NetworkSpec("small", embedding=16, input_px=32, seed=3)

Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder with the files of an exported network."""
    folder = tmp_path / "exported"
    folder.mkdir()
    for name, data in exported_files(untrained_network(SPEC), SPEC, {"dataset": "default"}).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def encode() -> Encode:
    """`encode(ending, width, height, seed=0)`: a file of smooth colours."""

    def make(ending: str, width: int, height: int, seed: int = 0) -> bytes:
        return encoded(ending, picture(width, height, seed))

    return make


def picture(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def encoded(ending: str, image: npt.NDArray[np.generic]) -> bytes:
    """An RGB (or grey, or RGBA) image as a file."""
    kinds = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    turned = cv2.cvtColor(image, kinds[image.shape[2]]) if image.ndim == 3 else image
    done, data = cv2.imencode(ending, turned, [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else [])
    assert done
    return bytes(data.tobytes())
