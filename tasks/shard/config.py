"""Configuration of the shard stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.configuration import StageConfig


class ShardConfig(StageConfig):
    """Cutting of pairs from the tracks' context crops, and the split of videos."""

    patch_px: int = Field(64, ge=16, le=512, description="Side of the stored patches, before the margin.")
    margin: float = Field(
        1.15, ge=1, le=1.5, description="Stored crops are this much wider than the box, room for random crops."
    )
    jpeg_quality: int = Field(92, ge=50, le=100, description="JPEG quality of the stored crops.")
    held_out_share: float = Field(0.2, ge=0, lt=1, description="Share of videos (by content) that training never sees.")
    near_duplicate_bits: int = Field(
        10, ge=0, le=15, description="Frames whose 64-bit hashes differ in at most so many bits are alike."
    )
    near_duplicates: Literal["group", "once"] = Field(
        "group", description="Pack all copies of a video, in one split and never each other's negative, or only one."
    )
    videos_per_shard: int = Field(64, ge=1, description="Most videos packed into one shard.")
    compact_bytes: int = Field(
        128 << 20, ge=0, description="Small shards are merged until they hold half so many bytes or more; 0: never."
    )
