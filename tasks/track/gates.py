"""Gates: the reasons for which a start or a track is rejected. A gate's reason is counted as `rejected_<reason>`."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.track.boxes import Box, visible_share
from tasks.track.config import TrackConfig
from tasks.track.follow import BoxStep

FRAME_REASONS = ("cut", "no_points", "no_homography", "too_few_moving", "too_many_moving", "no_window")
TRACK_REASONS = (
    "duplicate",
    "lost",
    "out_of_frame",
    "forward_backward",
    "appearance",
    "crossed_cut",
    "resized",
    "video_end",
    "thinned",
)
_MIN_VISIBLE_SHARE = 0.75  # of the box's area: a crop that is mostly mirrored edge shows nothing
_PATCH_SIDE = 32


def frame_reason(moving: np.ndarray, config: TrackConfig) -> str:
    """Why no track starts in a frame whose points move or not ((N,) bool), or "" where one may."""
    share = float(moving.mean())
    if share < config.min_moving_share:
        return "too_few_moving"
    if share > config.max_moving_share:
        return "too_many_moving"
    return ""


def step_reason(step: BoxStep, frame_shape: tuple[int, int], config: TrackConfig) -> str:
    """Why a track ends at this step, or ""; `frame_shape`: (height, width) at working size."""
    height, width = frame_shape
    if visible_share(step.box, width, height) < _MIN_VISIBLE_SHARE:
        return "out_of_frame"
    if not step.found:
        return "lost"
    if config.fb_threshold_px and step.error_px > config.fb_threshold_px:
        return "forward_backward"
    return ""


def appearance_patch(grey: np.ndarray, box: Box) -> np.ndarray:
    """The window's picture for comparison: (32, 32) float32, edge replicated; `grey`: (H, W) uint8."""
    side = max(1, round(box.side))
    x, y = box.centre
    patch = cv2.getRectSubPix(grey, (side, side), (x - 0.5, y - 0.5))
    small: np.ndarray = cv2.resize(patch, (_PATCH_SIDE, _PATCH_SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def correlation(anchor: np.ndarray, positive: np.ndarray) -> float:
    """Normalised cross-correlation of two patches of one shape, -1 to 1; 0 where one of them is flat."""
    one, other = anchor - anchor.mean(), positive - positive.mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum() / norm) if norm > 1e-6 else 0.0
