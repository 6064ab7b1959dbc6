"""Networks: one file each, shared by train and evaluate; and trained ones as others use them, in two lines:

from tasks.networks import load_backbone
features = load_backbone("exported")(images)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.networks.encoder import Encoder

NETWORKS = {
    "small": "tasks.networks.small",
    "medium": "tasks.networks.medium",
    "resnet18": "tasks.networks.resnet18",
    "caffenet": "tasks.networks.caffenet",
}
# Side of the smallest input; CaffeNet's pool5 then finds a map of 2 x 2, and of one cell nothing would be left.
LEAST_PX = {"small": 32, "medium": 32, "resnet18": 32, "caffenet": 39}
# Of the files that are taken for images where a folder is given.
MAX_PIXELS = 67_108_864  # of an image file that is decoded, where nothing else is asked for: 8,192 x 8,192
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def load_backbone(path: str | Path) -> Encoder:
    """The backbone of an exported network: a torch module on the CPU, in evaluation mode.

    `path`: a folder that `tritrack export` wrote, or a .safetensors file beside its network.json. The module takes
    images (B, 3, H, W), RGB from 0 to 255, uint8 or floating point, and gives features (B, F) float32: F is its
    `width`, and `input_px` the side that it was trained at; other sides work too. Its parameters can be trained
    further. Nothing is unpickled. Raises ValueError, in one line, for files that are missing, damaged or of another
    network.
    """
    from tasks.networks.exported import load_exported  # torch, which planning does without

    return load_exported(path, "backbone")


def load_embedding(path: str | Path) -> Encoder:
    """As `load_backbone`, but the module gives what was trained: embeddings (B, E) float32 of unit length."""
    from tasks.networks.exported import load_exported

    return load_exported(path, "embedding")
