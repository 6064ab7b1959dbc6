"""Configuration of the track stage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.configuration import OneOf, StageConfig, outside_key
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS


class TrackConfig(StageConfig):
    """Mining of patch tracks. Lengths in px are at working size, where not said otherwise.

    The defaults were chosen on the generated world and on real sequences with known boxes (`make bench-track`), and
    windows for many right pairs out of short clips, also where a static camera sees small objects.
    """

    estimator: Annotated[str, OneOf(["auto"], ESTIMATORS, BOX_TRACKERS)] = Field(
        "auto",
        description="How points or boxes are followed; auto takes torch where CUDA is, else klt, once a data set; "
        "still: not at all, the same place some frames later.",
    )
    working_height_px: int = Field(
        240, ge=64, le=2160, description="Frames are scaled to this height before tracking, never up."
    )
    patch_px: int = Field(72, ge=16, le=1024, description="Side of the square window that is followed.")
    window_scales: tuple[float, ...] = Field(
        (0.67, 1.0, 1.5), min_length=1, description="Windows of these multiples of patch_px are tried."
    )
    centre_windows: bool = Field(
        True, description="Draw windows to the densest spot and keep those that move one way; the paper does not."
    )
    gap_frames: int = Field(30, ge=1, le=300, description="Frames between anchor and positive.")
    gap_seconds: float = Field(
        0.0, ge=0, le=60, description="Seconds between anchor and positive, instead of frames; 0: gap_frames counts."
    )
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
    min_confidence: float = Field(
        0.82, ge=0, le=1, description="Smallest estimated probability that a kept track is right; 0: no gate."
    )
    fb_threshold_px: float = Field(
        4.0, ge=0, description="Largest forward-backward error, median over a box's points, in any frame; 0: no gate."
    )
    min_agreement: float = Field(
        0.05, ge=0, le=1, description="Smallest share of a box's points that go with it, but for 3 frames; 0: no gate."
    )
    min_ncc: float = Field(
        -0.2, ge=-1, le=1, description="Smallest correlation of the patch with itself ten frames before; -1: no gate."
    )
    min_visible_share: float = Field(
        0.65, ge=0, le=1, description="A track ends where less of its box lies inside the frame."
    )
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

    @property
    def window_sides(self) -> tuple[int, ...]:
        """Sides of the windows that are tried, working px."""
        return tuple(max(8, round(self.patch_px * scale)) for scale in self.window_scales)
