"""Configuration of the download stage."""

from __future__ import annotations

from typing import Literal

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
    min_seconds: float = outside_key(0.0, "Drop shorter videos, in seconds; 0: no filter.", ge=0)
    max_seconds: float = outside_key(0.0, "Drop longer videos, in seconds; 0: no filter.", ge=0)
    min_height_px: int = outside_key(0, "Drop videos of fewer lines, in pixels; 0: no filter.", ge=0)
    licences: tuple[str, ...] = outside_key(
        (),
        "Keep only these licences, by words that they contain; `creative commons` stands for all of its kinds. "
        "Empty: no filter.",
    )
    max_age_limit: int = outside_key(
        0, "Drop what its site allows only to viewers older than so many years; 0: no filter.", ge=0, le=99
    )
    max_pixels: int = outside_key(67_108_864, "Largest frame to decode, in pixels.", ge=1)
    max_listed: int = outside_key(10_000, "Take so many videos of one playlist, channel, feed or search.", ge=1)
    connections: int = outside_key(8, "Sources fetched at once.", ge=1, le=256)
    per_host_connections: int = outside_key(4, "Sources fetched at once from one host.", ge=1, le=256)
    per_host_hour: int = outside_key(
        0, "Sources fetched from one host within an hour; 0: what its site is known to bear, or no limit.", ge=0
    )
    pause_seconds: float = outside_key(
        0.0,
        "Mean pause between two sources of one host, in seconds, drawn between half and one and a half of it; "
        "0: what its site is known to bear, or none.",
        ge=0,
    )
    max_wait_seconds: float = outside_key(
        60.0, "Wait so long at most for a host that wants a pause; longer, and its sources are left for later.", ge=0
    )
    max_fetch_seconds: float = outside_key(3600.0, "Give up on one source after so long, in seconds.", gt=0)
    max_attempts: int = outside_key(
        5, "Runs that try a source whose failure no rule explains (reason `unknown`).", ge=1
    )
    retry: Literal["transient", "permanent", "poison", "all"] = outside_key(
        "transient", "Which failures are tried again: the transient ones, and those of this class too."
    )
    scratch_bytes: int = outside_key(
        20_000_000_000, "Bytes of unfinished downloads to keep in the scratch folder for the next run.", ge=0
    )
    max_tool_age_days: int = outside_key(90, "Warn where yt-dlp is older than so many days; 0: never.", ge=0)
    allow_stores: tuple[str, ...] = outside_key(
        (), "Object stores that sources may lie in, by prefix, such as s3://bucket/clips."
    )
    allow_hosts: tuple[str, ...] = outside_key(
        (), "Hosts on private or loopback addresses that may be asked all the same."
    )
    keep_removed: bool = outside_key(
        False, "Keep the sources that their list does not name any more, instead of retiring them."
    )
    min_kept_share: float = outside_key(
        0.0, "The stage fails when a smaller share of its sources gave a video.", ge=0, le=1
    )
