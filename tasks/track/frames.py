"""Working frames: what tracking sees of a decoded frame, at a bounded size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.track.decode import DecodedFrame


@dataclass(frozen=True)
class WorkingFrame:
    """A frame at working size. grey: (h, w) uint8; bgr: (h, w, 3) uint8, only where the follower wants colour.

    `scale_x` and `scale_y` turn working pixels into source pixels.
    """

    index: int
    seconds: float
    grey: np.ndarray
    bgr: np.ndarray | None
    scale_x: float
    scale_y: float


def working_frame(frame: DecodedFrame, height_px: int, colour: bool) -> WorkingFrame:
    """Scale a frame down to `height_px` rows, never up, its aspect kept to the nearest pixel."""
    height = min(height_px, frame.height)
    width = max(1, round(frame.width * height / frame.height))
    return WorkingFrame(
        index=frame.index,
        seconds=frame.seconds,
        grey=frame.scaled_grey(width, height),
        bgr=np.ascontiguousarray(frame.scaled_rgb(width, height)[:, :, ::-1]) if colour else None,
        scale_x=frame.width / width,
        scale_y=frame.height / height,
    )
