"""Camera motion: a homography of the background, from the motion of points all over the frame."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.motion import PointMotion

_CELL_PX = 16  # corners are balanced over cells of this side, so that shares of points are shares of the picture
_CORNERS_PER_CELL = 3
_QUALITY = 0.001  # of the strongest corner; improved dense trajectories use the same
_SPACING_PX = 4
_GRID = (14, 9)  # points across and down: as right as corners over the real sequences, at a tenth of their cost
_POINT_ERROR_PX = 1.0  # points that do not find back are at an occlusion's edge: their motion is noise
_MIN_POINTS = 16  # four fix a homography; fewer than four times as many cannot outvote a wrong one
_RANSAC_PX = 1.0  # as in improved dense trajectories
_MIN_INLIER_SHARE = 0.25
_MAX_AREA_RATIO = 2.0  # a camera that doubles or halves the picture between two frames is a wrong fit


@dataclass(frozen=True)
class FrameMotion:
    """Motion of N points between two frames.

    points: (N, 2) float32, places in the following frame, working px.
    residual: (N, 2) float32, the motion that the camera does not explain, px.
    homography: (3, 3) float64, background of the previous frame to the following one.
    """

    points: np.ndarray
    residual: np.ndarray
    homography: np.ndarray


def measure_camera(points: np.ndarray, motion: PointMotion) -> FrameMotion | str:
    """The camera's motion from that of points (N, 2) float32, or why there is none: `no_points`, `no_homography`.

    Points that the estimator did not find back are left out of the answer.
    """
    good = motion.error_px <= _POINT_ERROR_PX
    if good.sum() < _MIN_POINTS:
        return "no_points"
    before, after = points[good], motion.points[good]
    homography, inliers = cv2.findHomography(before, after, cv2.RANSAC, _RANSAC_PX)
    if homography is None or inliers.mean() < _MIN_INLIER_SHARE or not _is_plausible(homography):
        return "no_homography"
    return FrameMotion(after, after - project(homography, before), homography)


def project(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where a homography (3, 3) takes points (..., 2), float64. No matrix product: a point's rounding is its own."""
    homogeneous = points[..., :1] * homography[:, 0] + points[..., 1:] * homography[:, 1] + homography[:, 2]
    places: np.ndarray = homogeneous[..., :2] / homogeneous[..., 2:]
    return places


@functools.lru_cache(maxsize=8)
def grid_points(height: int, width: int) -> np.ndarray:
    """Points spread evenly over a frame: (N, 2) float32, x and y in px. Enough for the homography alone."""
    across, down = _GRID
    x, y = np.meshgrid((np.arange(across) + 0.5) * width / across, (np.arange(down) + 0.5) * height / down)
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    points.flags.writeable = False
    return points


def spread_corners(grey: np.ndarray) -> np.ndarray:
    """Corners (Shi and Tomasi) of a grey frame, the strongest few of each cell: (N, 2) float32, x and y in px."""
    height, width = grey.shape
    num_cells = -(-width // _CELL_PX) * -(-height // _CELL_PX)
    found = cv2.goodFeaturesToTrack(grey, 4 * _CORNERS_PER_CELL * num_cells, _QUALITY, _SPACING_PX)
    if found is None:
        return np.zeros((0, 2), np.float32)
    corners: np.ndarray = found.reshape(-1, 2)
    cells = (corners[:, 1] // _CELL_PX).astype(int) * -(-width // _CELL_PX) + (corners[:, 0] // _CELL_PX).astype(int)
    # Corners come strongest first: a stable sort by cell keeps that order inside each cell.
    order = np.argsort(cells, kind="stable")
    first = np.searchsorted(cells[order], cells[order])
    kept = np.sort(order[np.arange(len(order)) - first < _CORNERS_PER_CELL])
    balanced: np.ndarray = corners[kept]
    return balanced


def _is_plausible(homography: np.ndarray) -> bool:
    area = float(np.linalg.det(homography[:2, :2]))  # negative where it mirrors
    return bool(np.isfinite(homography).all()) and 1 / _MAX_AREA_RATIO < area < _MAX_AREA_RATIO
