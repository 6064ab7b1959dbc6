"""Configuration of the track stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.configuration import StageConfig, outside_key


class TrackConfig(StageConfig):
    """Mining of patch tracks. Lengths in px are at working size, where not said otherwise.

    The defaults were chosen on 24 videos of the generated world and 51 real clips: many right pairs out of
    short clips, also where a static camera sees small objects. Correlation hardly told right from wrong
    there, since a solid that turns shows another side: its gate is loose.
    """

    estimator: Literal["klt", "farneback", "dis", "kcf"] = Field("klt", description="How points or boxes are followed.")
    working_height_px: int = Field(
        240, ge=64, le=2160, description="Frames are scaled to this height before tracking, never up."
    )
    patch_px: int = Field(72, ge=16, le=1024, description="Side of the square window that is followed.")
    gap_frames: int = Field(30, ge=1, le=300, description="Frames between anchor and positive.")
    start_every_frames: int = Field(5, ge=1, description="A frame in this many is tried as a start.")
    windows_per_frame: int = Field(5, ge=1, le=64, description="Most windows that start in one frame.")
    moving_threshold_px: float = Field(
        0.5, ge=0, description="A point moves where its camera-compensated flow exceeds this."
    )
    min_moving_share: float = Field(
        0.02, ge=0, le=1, description="Frames with a smaller share of moving points are rejected."
    )
    max_moving_share: float = Field(
        0.9, ge=0, le=1, description="Frames with a larger share of moving points are rejected."
    )
    fb_threshold_px: float = Field(0.5, ge=0, description="Largest forward-backward error of a kept track; 0: no gate.")
    min_ncc: float = Field(-0.1, ge=-1, le=1, description="Smallest correlation of anchor and positive; -1: no gate.")
    cut_threshold: float = Field(
        0.25, ge=0, le=1, description="Histogram distance that counts as a shot cut; 1: no gate."
    )
    duplicate_frames: int = Field(
        10, ge=0, description="A window over another that started fewer frames ago is a duplicate; 0: none is."
    )
    max_tracks: int = Field(200, ge=1, description="Most tracks kept of one video.")
    min_kept_share: float = outside_key(
        0.0, "The stage fails when a smaller share of its videos gave a track.", ge=0, le=1
    )
