"""Walks boxes through frames as the miner does, without its gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.track.boxes import Box
from tasks.track.camera import grid_points
from tasks.track.follow import BoxStep, Follower, step_with_camera
from tasks.track.frames import WorkingFrame
from tasks.track.motion import PointQuery
from tasks.track.variants import make_estimator, make_follower

Steps = list[Mapping[int, BoxStep]]


def working(index: int, grey: np.ndarray) -> WorkingFrame:
    """A grey picture ((H, W) uint8) as a working frame with colour, 25 a second."""
    return WorkingFrame(index, index / 25, grey, np.repeat(grey[:, :, None], 3, axis=2), 1.0, 1.0)


def walk(
    greys: Sequence[np.ndarray],
    starts: Mapping[int, tuple[int, Box]],
    stops: Mapping[int, int] | None = None,
    name: str = "klt",
    camera: bool = True,
) -> Steps:
    """One mapping of steps a frame after the first. `starts`: frame and box of each name; `stops`: its last frame."""
    estimator, follower = make_estimator(name, "cpu"), make_follower(name)
    prepared = [estimator.prepare(grey) for grey in greys]
    steps: Steps = []
    for index, grey in enumerate(greys):
        if index:
            around = grid_points(*grey.shape) if camera else np.zeros((0, 2), np.float32)
            points = np.concatenate([around, follower.points()])
            (motion,) = estimator.follow([PointQuery(prepared[index - 1], prepared[index], points)])
            steps.append(dict(step_with_camera(follower, working(index, grey), around, motion)[1]))
        _change(follower, index, grey, starts, stops or {})
    return steps


def _change(
    follower: Follower,
    index: int,
    grey: np.ndarray,
    starts: Mapping[int, tuple[int, Box]],
    stops: Mapping[int, int],
) -> None:
    for number, last in stops.items():
        if last == index:
            follower.stop(number)
    for number, (start, box) in starts.items():
        if start == index:
            follower.start(number, working(index, grey), box)
