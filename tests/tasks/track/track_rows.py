"""Rows of the track tables with paths by a formula, as mining would write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.track.crops import CONTEXT, context_crop, jpeg

VIDEO = "ab" * 32


def path_row(video: str = VIDEO, start: int = 12, number: int = 0, length: int = 21, **changes: Any) -> dict[str, Any]:
    """A track of (length) boxes of 40 px that run right by 2 px a frame, as those of `moving_square` do."""
    later = length - 1
    return {
        "track": f"{video[:16]}-{start}-{number}",
        "video": video,
        "estimator": "klt",
        "start_frame": start,
        "end_frame": start + later,
        "start_seconds": start / 25,
        "end_seconds": (start + later) / 25,
        "frame_width": 320,
        "frame_height": 240,
        "boxes": [(40.0 + 2 * frame, 100.0, 40.0, 40.0) for frame in range(start, start + length)],
        "seconds": [frame / 25 for frame in range(start, start + length)],
        "errors_px": [0.1 + 0.01 * step for step in range(later)],
        "agreement": [0.9] * later,
        "jolts_px": [0.2] * later,
        "forward_backward_px": 0.1 + 0.01 * (later - 1),
        "ncc": 0.8,
        "step_ncc": 0.95,
        "lag_ncc": 0.85,
        "confidence": 0.9,
        "moving_share": 0.3,
        **changes,
    }


def track_row(video: str = VIDEO, start: int = 12, number: int = 0, **changes: Any) -> dict[str, Any]:
    """An accepted track; its anchor crop is dark and its positive bright."""
    crops = [jpeg(context_crop(np.full((240, 320, 3), level, np.uint8), (100, 100, 40, 40))) for level in (60, 200)]
    row = path_row(video, start, number, **changes)
    return {**row, "anchor_jpeg": crops[0], "positive_jpeg": crops[1], "context": CONTEXT}


def rejected_row(
    video: str = VIDEO, start: int = 3, number: int = 1, reason: str = "occlusion", **changes: Any
) -> dict[str, Any]:
    """A track that was given up after 11 frames."""
    return {**path_row(video, start, number, length=11, **changes), "reason": reason}
