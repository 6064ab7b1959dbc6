"""Followers: move many boxes from one frame to the next. The one here moves them by the points inside.

Shapes: B boxes, N points of a box's grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tasks.track.boxes import Box
from tasks.track.camera import FrameMotion, measure_camera, project
from tasks.track.figure import MOVING_PX, SPREAD, FigureGround, offsets
from tasks.track.frames import WorkingFrame
from tasks.track.motion import PointMotion

_POINT_ERROR_PX = 1.0  # a point whose way back ends farther off is on an occluder or has slid along an edge
_MIN_POINTS = 5  # fewer do not vote for a motion
_MIN_MOVING_WEIGHT = 0.15  # of the points' weight: below it the box is taken for still, and all its points count
_CENTRE_SIDES = 1 / 3  # the weight of a point falls to 1/e at this distance from the centre
_MEMORY = 0.3  # weight of the newest motion in the smoothed one
_STEADY_PX = 2.0  # points that differ more from the smoothed motion count less: an occluder's go another way
_AGREE_PX = 1.0  # a point goes with the box where their motions differ less than this, or than a quarter of it
_AGREE_SHARE = 0.25
_SCALE_ROUNDS = 3
_SCALE_RESIDUAL_PX = 0.5
_SCALE_TRUST = 0.7  # of a frame's change of size; the rest is noise that adds up
_MAX_SCALE_STEP = 1.04  # a frame
_MAX_SCALE = 2.0  # a track


@dataclass(frozen=True)
class BoxStep:
    """A box after one frame; `found` False: no points tell its motion, and it went on as before.

    `error_px`: the median forward-backward error of its points that were found. `agreement`: the share of its points
    that find back and go with it, 0 to 1; what is in front of it lowers it. `jolt_px`: how far its motion is from what
    it was in the frames before, the camera's motion taken away; a box that leaves one thing for another jolts.
    """

    box: Box
    error_px: float
    agreement: float
    jolt_px: float
    found: bool


class Follower(Protocol):
    """Follows named boxes from frame to frame, all of them in one `step`."""

    needs_colour: bool
    needs_points: bool  # and the camera's motion

    def start(self, name: int, frame: WorkingFrame, box: Box) -> None:
        """Begin to follow a box of a frame."""

    def points(self) -> np.ndarray:
        """The points (N, 2) float32 of the newest frame whose motion the next `step` wants."""

    def step(self, frame: WorkingFrame, motion: PointMotion, homography: np.ndarray | None) -> Mapping[int, BoxStep]:
        """Move every box to `frame`; `motion` is that of `points`, `homography` the camera's, None where unknown."""

    def stop(self, name: int) -> None:
        """Forget a box."""


def step_with_camera(
    follower: Follower, frame: WorkingFrame, camera_points: np.ndarray, motion: PointMotion
) -> tuple[FrameMotion | str, Mapping[int, BoxStep]]:
    """The camera's motion, or why it is not known, and every box moved to `frame`.

    `motion` is that of `camera_points` (C, 2) and, after them, of the follower's points.
    """
    num = len(camera_points)
    camera = measure_camera(camera_points, motion.part(slice(0, num))) if num else "no_points"
    homography = camera.homography if isinstance(camera, FrameMotion) else None
    return camera, follower.step(frame, motion.part(slice(num, None)), homography)


class PointFollower:
    """Moves each box by the weighted median motion of a grid of points laid over it anew in every frame.

    Points near the centre count more; those that the camera's motion explains do not count while enough others
    move, nor do those that break with the box's own smoothed motion: an occluder does. A box scales by the least
    squares similarity of its points. What moves with it in and around it keeps it in its place (see `FigureGround`).
    All boxes move in one set of array operations.
    """

    needs_colour = False
    needs_points = True

    def __init__(self) -> None:
        self._names: list[int] = []
        self._boxes = np.zeros((0, 4))  # x, y, width, height
        self._first_widths = np.zeros(0)
        self._velocity = np.zeros((0, 2))  # smoothed, against the camera, px a frame; NaN before the first step
        self._figure = FigureGround()

    def start(self, name: int, frame: WorkingFrame, box: Box) -> None:
        """Begin to follow a box; the frame itself is not looked at."""
        self._names.append(name)
        self._boxes = np.concatenate([self._boxes, [[box.x, box.y, box.width, box.height]]])
        self._first_widths = np.append(self._first_widths, box.width)
        self._velocity = np.concatenate([self._velocity, [[np.nan, np.nan]]])
        self._figure.append()

    def stop(self, name: int) -> None:
        """Forget a box."""
        place = self._names.index(name)
        del self._names[place]
        self._boxes = np.delete(self._boxes, place, axis=0)
        self._first_widths = np.delete(self._first_widths, place)
        self._velocity = np.delete(self._velocity, place, axis=0)
        self._figure.remove(place)

    def points(self) -> np.ndarray:
        """A grid over every box and half a box around: (B * N, 2) float32."""
        return self._grid().reshape(-1, 2).astype(np.float32)

    def step(self, frame: WorkingFrame, motion: PointMotion, homography: np.ndarray | None) -> Mapping[int, BoxStep]:
        """Move every box; one without points that tell its motion goes on as before."""
        if not self._names:
            return {}
        points = self._grid()
        moved = motion.points.reshape(points.shape).astype(np.float64)
        error = motion.error_px.reshape(points.shape[:2])
        height, width = frame.grey.shape
        x, y = points[..., 0], points[..., 1]
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        sound = (error <= _POINT_ERROR_PX) & inside  # (B, N)
        core = self._figure.is_core
        shift, centres = moved - points, self._boxes[:, :2] + self._boxes[:, 2:] / 2
        camera = np.zeros_like(points) if homography is None else project(homography, points) - points
        base = np.zeros_like(centres) if homography is None else project(homography, centres) - centres
        independent = _length(shift - camera)  # (B, N) px
        known = (sound & core).sum(axis=1) >= _MIN_POINTS
        used = _voters(sound & core, independent > MOVING_PX if homography is not None else sound)
        weight = self._weights(used, shift, base)
        steady = _or_zero(self._velocity) + base
        median = np.where(known[:, None], _weighted_median(shift, weight), steady)
        deviation = _length(shift - median[:, None])
        apart = _length(median - base)  # of the box and the camera
        with_box = deviation <= np.maximum(_AGREE_PX, _AGREE_SHARE * apart)[:, None]
        agreement = (_WEIGHT * (sound & core & with_box)).sum(axis=1) / _WEIGHT.sum()
        scale = np.where(known, _scale_step(points, moved, weight * _near_the_median(deviation, used)), 1.0)
        jolt = self._smooth(median - base, known)
        nudge, growth = np.zeros_like(median), np.ones(len(median))
        if homography is not None:
            self._figure.observe(known & (apart > 1), sound, independent, deviation, apart)
            nudge, growth = self._figure.correction(known & (apart > 1))
        self._move(median, nudge, scale * growth)
        errors = error[:, core]
        median_error = _row_medians(errors, np.isfinite(errors))
        agreement = np.where(known, agreement, 0.0)
        measured = (median_error, agreement, jolt, known)
        rows = zip(self._names, self._boxes.tolist(), *(values.tolist() for values in measured), strict=True)
        return {name: BoxStep(Box(*box), *values) for name, box, *values in rows}

    def _grid(self) -> np.ndarray:
        """(B, N, 2) float64 px, as the estimator sees it: rounded to float32."""
        centres = self._boxes[:, None, :2] + self._boxes[:, None, 2:] / 2
        grid: np.ndarray = (centres + offsets() * self._boxes[:, None, 2:]).astype(np.float32).astype(np.float64)
        return grid

    def _weights(self, used: np.ndarray, shift: np.ndarray, base: np.ndarray) -> np.ndarray:
        """How much each point's motion counts: (B, N)."""
        weight = _WEIGHT * used * self._figure.belief()
        breaks = _length(shift - (self._velocity + base)[:, None])
        tolerance = _STEADY_PX * (1 + 0.25 * _length(self._velocity))[:, None]
        steadied: np.ndarray = weight / (1 + _or_zero(breaks / tolerance) ** 2)
        return steadied

    def _smooth(self, velocity: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Take the newest motion into the smoothed one; returns the distance that is left between them, (B,) px."""
        fresh = np.isnan(self._velocity[:, 0])
        mixed = np.where(fresh[:, None], velocity, (1 - _MEMORY) * self._velocity + _MEMORY * velocity)
        self._velocity = np.where(known[:, None], mixed, self._velocity)
        jolt: np.ndarray = np.where(known, _length(velocity - _or_zero(self._velocity)), 0.0)
        return jolt

    def _move(self, shift: np.ndarray, nudge: np.ndarray, scale: np.ndarray) -> None:
        """Shift by px, nudge by shares of the size, scale about the centre."""
        sizes = self._boxes[:, 2:]
        centres = self._boxes[:, :2] + sizes / 2 + shift + nudge * sizes
        low, high = self._first_widths / _MAX_SCALE, self._first_widths * _MAX_SCALE
        scale = np.clip(sizes[:, 0] * scale, low, high) / sizes[:, 0]
        sizes = sizes * scale[:, None]
        self._boxes = np.concatenate([centres - sizes / 2, sizes], axis=1)


def _length(vectors: np.ndarray) -> np.ndarray:
    """Of (..., 2): (...)."""
    length: np.ndarray = np.hypot(vectors[..., 0], vectors[..., 1])
    return length


def _or_zero(values: np.ndarray) -> np.ndarray:
    """0 where not a number."""
    return np.where(np.isnan(values), 0.0, values)


def _row_medians(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The (upper) median of each row's values where `which`, (B,); infinite where there is none."""
    ordered = np.sort(np.where(which, values, np.inf), axis=1)
    place = np.minimum(which.sum(axis=1) // 2, values.shape[1] - 1)
    medians: np.ndarray = ordered[np.arange(len(values)), place]
    return medians


def _make_weight() -> np.ndarray:
    at = offsets()
    weight: np.ndarray = np.exp(-((at / _CENTRE_SIDES) ** 2).sum(axis=1)) * (np.abs(at) < 0.5).all(axis=1)
    return weight


_WEIGHT = _make_weight()  # (N,); 0 outside the box
assert SPREAD > 1, "the grid reaches beyond the box"


def _voters(sound: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The points that vote, (B, N): those that move by themselves where enough do, else all sound ones."""
    own = sound & moving
    heavy = (_WEIGHT * own).sum(axis=1) > _MIN_MOVING_WEIGHT * (_WEIGHT * sound).sum(axis=1)
    enough: np.ndarray = np.logical_and(heavy, own.sum(axis=1) >= _MIN_POINTS)
    voters: np.ndarray = np.where(enough[:, None], own, sound)
    return voters


def _near_the_median(deviation: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Points whose motion is within three median deviations, at least 1 px: (B, N) bool."""
    middle = _row_medians(deviation, used)
    near: np.ndarray = used & (deviation < np.maximum(1.0, 3 * middle)[:, None])
    return near


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of (B, N, 2) values under (B, N) weights, each coordinate by itself: (B, 2)."""
    box, axis = np.arange(len(values))[:, None], np.arange(2)
    order = np.argsort(values.transpose(0, 2, 1), axis=2)  # (B, 2, N)
    total = np.cumsum(weight[box[:, :, None], order], axis=2)
    place = np.minimum((total < total[:, :, -1:] / 2).sum(axis=2), values.shape[1] - 1)
    middle: np.ndarray = values[box, order[box, axis, place], axis]
    return middle


def _scale_step(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Change of size of B point sets, by an iteratively reweighted least squares similarity: (B,), 1 is none.

    Places (B, N, 2) are taken as complex numbers: turning and scaling is then one factor.
    """
    before, after = (np.ascontiguousarray(places).view(complex)[..., 0] for places in (before, after))
    current, scale = weight, np.ones(len(weight))
    for _ in range(_SCALE_ROUNDS):
        total = np.maximum(current.sum(axis=1), 1e-9)
        old = before - (np.vecdot(current, before) / total)[:, None]
        new = after - (np.vecdot(current, after) / total)[:, None]
        weighted = current * old
        factor = np.vecdot(weighted, new) / np.maximum(np.vecdot(weighted, old).real, 1e-9)
        scale = np.abs(factor)
        left = new - factor[:, None] * old
        current = weight / (1 + (left.real**2 + left.imag**2) / _SCALE_RESIDUAL_PX**2)
    told = (weight > 0).sum(axis=1) >= _MIN_POINTS
    step: np.ndarray = np.where(told, np.clip(scale, 1 / _MAX_SCALE_STEP, _MAX_SCALE_STEP) ** _SCALE_TRUST, 1.0)
    return step
