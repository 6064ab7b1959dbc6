"""Batched Lucas-Kanade beside OpenCV's: ms a frame pair, forward and backward, by points, frames in a batch and size.

    python -m tests.bench.lucas_kanade [--device cuda] [--compiled] [--threads 1] [--points 200 1000] [--frames 1 8]

OpenCV runs on one thread of the CPU, one pair after the other. `follow` starts from prepared frames; `prepare` is
the upload of one frame and its pyramid, which every frame needs once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tasks.track.estimators import klt
from tasks.track.estimators.torch import make_estimator
from tasks.track.motion import PointMotion, PointQuery

Result = TypeVar("Result")

_SIZES = ((427, 240), (854, 480))
_MAX_ROUNDS = 7
_ENOUGH_SECONDS = 2.0  # of one figure, after the first round


def main() -> int:
    """Measure every combination, print one table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    named = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{arguments.threads} threads"
    table = Table(
        title=f"torch {torch.__version__} on {arguments.device} ({named}), OpenCV {cv2.__version__} on a core"
    )
    for heading in ("size", "points", "frames", "OpenCV ms", "torch ms", "ratio", "prepare ms", "same", "median px"):
        table.add_column(heading, justify="right")
    console = Console(width=120)
    for size in _SIZES:
        for points in arguments.points:
            for frames in arguments.frames:
                table.add_row(*_measure(size, points, frames, arguments.device, arguments.compiled))
    console.print(table)
    console.print("ms a frame pair, forward and backward. same: points that both or neither found.")
    return 0


def _measure(size: tuple[int, int], num_points: int, num_frames: int, device: str, compiled: bool) -> list[str]:
    """One row; `num_frames` pairs go into one call."""
    greys = _pictures(size, num_frames + 1)
    points = np.random.default_rng(1).uniform(0, size, (num_frames, num_points, 2)).astype(np.float32)
    peer, ours = klt.make_estimator(), make_estimator(device, compiled)
    peer_queries = [
        PointQuery(*pair, each) for pair, each in zip(pairwise(map(peer.prepare, greys)), points, strict=True)
    ]
    peer_ms, expected = _timed(lambda: peer.follow(peer_queries), device)
    prepare_ms, prepared = _timed(lambda: [ours.prepare(grey) for grey in greys], device)
    queries = [PointQuery(*pair, each) for pair, each in zip(pairwise(prepared), points, strict=True)]
    ours_ms, motions = _timed(lambda: ours.follow(queries), device)
    same, median = _agreement(expected, motions)
    return [
        f"{size[0]}x{size[1]}",
        str(num_points),
        str(num_frames),
        f"{peer_ms / num_frames:.2f}",
        f"{ours_ms / num_frames:.2f}",
        f"{ours_ms / peer_ms:.2f}",
        f"{prepare_ms / len(greys):.2f}",
        f"{same:.4f}",
        f"{median:.4f}",
    ]


def _timed(work: Callable[[], Result], device: str) -> tuple[float, Result]:
    """Median ms of a few rounds, the first not counted, and the result."""
    result = work()
    rounds: list[float] = []
    while len(rounds) < _MAX_ROUNDS and sum(rounds) < _ENOUGH_SECONDS:
        started = time.perf_counter()
        result = work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        rounds.append(time.perf_counter() - started)
    return 1000 * statistics.median(rounds), result


def _agreement(expected: Sequence[PointMotion], motions: Sequence[PointMotion]) -> tuple[float, float]:
    """Share of points with the same verdict, and the median distance of those that both found, px."""
    found = np.concatenate([motion.found for motion in motions])
    found_by_peer = np.concatenate([motion.found for motion in expected])
    places = np.concatenate([motion.points for motion in motions])
    places_of_peer = np.concatenate([motion.points for motion in expected])
    distance = np.linalg.norm(places - places_of_peer, axis=1)[found & found_by_peer]
    return float((found == found_by_peer).mean()), float(np.median(distance))


def _pictures(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Smooth noise that turns, grows and drifts by 2 to 3 px a frame: (H, W) uint8 each."""
    width, height = size
    noise = np.random.default_rng(0).uniform(0, 255, (height, width)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    pictures = []
    for index in range(count):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0.3 * index, 1 + 0.003 * index)
        matrix[:, 2] += (2.3 * index, -1.4 * index)
        seen = cv2.warpAffine(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        pictures.append(np.rint(seen).clip(0, 255).astype(np.uint8))
    return pictures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--compiled", action="store_true", help="fuse the iterations by torch.compile")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads on the CPU")
    parser.add_argument("--points", type=int, nargs="+", default=[200, 1000, 5000], help="points of a frame")
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 8, 32], help="frame pairs in one call")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
