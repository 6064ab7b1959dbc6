"""Camera motion: a homography of the background, and the points that move against it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.motion import FollowPoints

_CELL_PX = 16  # corners are balanced over cells of this side, so that shares of points are shares of the picture
_CORNERS_PER_CELL = 3
_QUALITY = 0.001  # of the strongest corner; improved dense trajectories use the same
_SPACING_PX = 4
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


def measure_motion(previous: np.ndarray, following: np.ndarray, follow_points: FollowPoints) -> FrameMotion | str:
    """Motion between two grey frames ((H, W) uint8), or why there is none: `no_points`, `no_homography`."""
    corners = spread_corners(previous)
    motion = follow_points(previous, following, corners)
    good = motion.error_px <= _POINT_ERROR_PX
    if good.sum() < _MIN_POINTS:
        return "no_points"
    before, after = corners[good], motion.points[good]
    homography, inliers = cv2.findHomography(before, after, cv2.RANSAC, _RANSAC_PX)
    if homography is None or inliers.mean() < _MIN_INLIER_SHARE or not _is_plausible(homography):
        return "no_homography"
    expected = cv2.perspectiveTransform(before.reshape(-1, 1, 2), homography).reshape(-1, 2)
    return FrameMotion(after, after - expected, homography)


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
    area = abs(float(np.linalg.det(homography[:2, :2])))
    return bool(np.isfinite(homography).all()) and 1 / _MAX_AREA_RATIO < area < _MAX_AREA_RATIO
