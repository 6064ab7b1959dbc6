"""Writing a folder of colour, depth and surface normals, as the published NYUv2 samples with normals lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tasks.records import Progress, no_progress
from tasks.world.config import WorldConfig
from tasks.world.render import Bytes, Frame, Singles
from tasks.world.voc import image_name, pick_frame

DEPTH_PER_METRE = 5000  # of the uint16 depth images; 0 means unknown
_VALID_LENGTH = 0.2  # shorter vectors mean unknown


def write_nyu(
    folder: Path, config: WorldConfig, seed: int, count: int, progress: Progress = no_progress
) -> list[Frame]:
    """Write `count` images, one frame of one video each; returns the frames as truth.

    `000001.png` (colour), `depth_gt_000001.png` (uint16), `norm_gt_000001.png` (see `encode_normals`) and
    `intrinsics.json`: for each image its focal lengths and principal point, fx, fy, cx, cy in px.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames, intrinsics = [], {}
    for index in range(count):
        frame = pick_frame(config, seed, index, truth=True)
        name = image_name(index)
        depth = np.rint(frame.depth * DEPTH_PER_METRE).astype(np.uint16)
        normals = encode_normals(frame.normals)
        cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(frame.image[..., ::-1]))
        cv2.imwrite(str(folder / f"depth_gt_{name}.png"), depth)
        cv2.imwrite(str(folder / f"norm_gt_{name}.png"), np.ascontiguousarray(normals[..., ::-1]))
        matrix = frame.camera.intrinsics
        intrinsics[name] = {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}
        frames.append(frame)
        progress(index + 1, count, name)
    (folder / "intrinsics.json").write_text(json.dumps(intrinsics, indent=1))
    return frames


def encode_normals(normals: Singles) -> Bytes:
    """Normals (H, W, 3) towards the camera (x right, y down, z forward) as RGB: u = RGB / 127.5 - 1 = (x, z, -y)."""
    axes = np.stack([normals[..., 0], normals[..., 2], -normals[..., 1]], axis=-1)
    return np.asarray(np.rint((axes + 1) * 127.5), np.uint8)


def decode_normals(image: Bytes) -> tuple[Singles, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """The inverse: unit normals (H, W, 3) and where they are known (H, W)."""
    axes = image.astype(np.float32) / 127.5 - 1
    length = np.linalg.norm(axes, axis=-1)
    normals = np.stack([axes[..., 0], -axes[..., 2], axes[..., 1]], axis=-1)
    return np.asarray(normals / np.maximum(length, 1e-6)[..., None], np.float32), length >= _VALID_LENGTH
