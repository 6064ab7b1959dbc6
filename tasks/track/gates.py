"""Gates: the reasons for which a start or a track is rejected. A gate's reason is counted as `rejected_<reason>`.

A gate that rests on what the follower does not measure (NaN, the box trackers of the comparison) lets pass.
"""

from __future__ import annotations

import math

import numpy as np

from tasks.track.boxes import visible_share
from tasks.track.config import TrackConfig
from tasks.track.evidence import Evidence
from tasks.track.follow import BoxStep

FRAME_REASONS = ("cut", "no_points", "no_homography", "too_few_moving", "too_many_moving", "no_window")
TRACK_REASONS = (
    "duplicate",
    "lost",
    "out_of_frame",
    "forward_backward",
    "occlusion",
    "appearance",
    "unsure",
    "crossed_cut",
    "resized",
    "video_end",
    "thinned",
)
_MAX_FAINT_FRAMES = 3  # in a row with too little agreement; one or two are a blink, or a blurred frame


def frame_reason(moving: np.ndarray, config: TrackConfig) -> str:
    """Why no track starts in a frame whose points move or not ((N,) bool), or "" where one may."""
    share = float(moving.mean())
    if share < config.min_moving_share:
        return "too_few_moving"
    if share > config.max_moving_share:
        return "too_many_moving"
    return ""


def step_reason(step: BoxStep, frame_shape: tuple[int, int], faint_frames: int, config: TrackConfig) -> str:
    """Why a track ends at this step, or "".

    frame_shape: (height, width) at working size; faint_frames: how many frames in a row up to this one are `is_faint`.
    """
    height, width = frame_shape
    if visible_share(step.box, width, height) < config.min_visible_share:
        return "out_of_frame"
    if math.isnan(step.agreement) and not step.found:
        return "lost"  # a box tracker's own word; points may be lost for a few frames
    if config.fb_threshold_px and step.found and step.error_px > config.fb_threshold_px:
        return "forward_backward"
    return "occlusion" if faint_frames > _MAX_FAINT_FRAMES else ""


def is_faint(step: BoxStep, config: TrackConfig) -> bool:
    """Whether hardly any point goes with the box: something is in front of it, or nothing is there."""
    return step.agreement < config.min_agreement


def track_reason(evidence: Evidence, config: TrackConfig) -> str:
    """Why a track that came to its end is rejected, or ""."""
    if config.min_ncc > -1 and evidence.lag_ncc < config.min_ncc:
        return "appearance"
    if evidence.confidence < config.min_confidence:
        return "unsure"
    return ""
