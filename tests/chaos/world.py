"""The tiny generated world of the chaos runs, and the settings that make every stage take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

NUM_VIDEOS = 6
_FIELDS: Mapping[str, object] = {
    "track.estimator": "klt",
    "track.patch_px": 40,
    "track.working_height_px": 120,
    "track.gap_frames": 12,
    "shard.videos_per_shard": 2,
    "train.steps": 8,
    "train.pairs_per_batch": 8,
    "train.input_px": 32,
    "train.hard_after_step": 2,
    "train.checkpoint_every_steps": 2,
    "evaluate.bootstrap_samples": 100,
    "evaluate.audit_videos": 1,
}


def write_world(folder: Path, num_videos: int = NUM_VIDEOS) -> Path:
    """The folder with its generated videos, 160x120 and 48 frames each, and labels.parquet."""
    from tasks.world.config import WorldConfig
    from tasks.world.write import write_videos

    write_videos(folder, WorldConfig(width=160, height=120, num_frames=48, num_objects=3), 3, num_videos, workers=1)
    return folder


def settings(world: Path, workers: int) -> list[str]:
    """The `--set` arguments of a run over the world; a world of four videos or fewer goes without classification."""
    fields = {**_FIELDS, "execution.workers": workers}
    if len(list(world.glob("*.mp4"))) > 4:
        fields["evaluate.labels"] = repr(str(world / "labels.parquet"))
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]
