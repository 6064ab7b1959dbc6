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
    budget_bytes: int = outside_key(
        0, "Take in no more videos once those of the data set hold so many bytes; 0: no limit.", ge=0
    )
    min_free_bytes: int = outside_key(
        1_000_000_000,
        "Take in no more videos while the disk of scratch or of a local root has less free.",
        ge=0,
    )
    timeout_seconds: float = outside_key(30.0, "Give up on a silent connection after this long.", gt=0)
    retries: int = outside_key(3, "Retries within one attempt, with growing pauses.", ge=0, le=50)
    allow_hosts: tuple[str, ...] = outside_key(
        (), "Hosts on private or loopback addresses that may be asked all the same."
    )
    keep_removed: bool = outside_key(
        False, "Keep the sources that their list does not name any more, instead of retiring them."
    )
    min_kept_share: float = outside_key(
        0.0, "The stage fails when a smaller share of its sources gave a video.", ge=0, le=1
    )
