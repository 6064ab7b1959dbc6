"""Configuration of the download stage."""

from __future__ import annotations

from pydantic import Field

from tasks.configuration import StageConfig, outside_key


class DownloadConfig(StageConfig):
    """What is fetched (in the key) and how (never in it: an edited retry rule downloads nothing again)."""

    max_height_px: int = Field(480, ge=64, le=4320, description="Tallest format to fetch; nothing is re-encoded.")
    format: str = Field(
        "", description="A yt-dlp format expression; empty: the best video-only format under the height cap."
    )
    max_bytes: int = outside_key(2_000_000_000, "Largest file to accept, in bytes.", ge=1)
    timeout_seconds: float = outside_key(30.0, "Give up on a silent connection after this long.", gt=0)
    retries: int = outside_key(3, "Retries within one attempt, with growing pauses.", ge=0, le=50)
    allow_hosts: tuple[str, ...] = outside_key(
        (), "Hosts on private or loopback addresses that may be asked all the same."
    )
    min_kept_share: float = outside_key(
        0.0, "The stage fails when a smaller share of its sources gave a video.", ge=0, le=1
    )
