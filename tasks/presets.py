"""A run's whole configuration, and its presets: functions that return one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.configuration import StageConfig
from tasks.download.config import DownloadConfig
from tasks.evaluate.config import EvaluateConfig
from tasks.shard.config import ShardConfig
from tasks.track.config import TrackConfig
from tasks.train.config import TrainConfig


class ExecutionConfig(StageConfig):
    """Where and how wide the work runs; never part of a key."""

    workers: int = Field(2, ge=1, le=256, description="Worker processes of the download, track and shard stages.")
    runner: Literal["local", "ray"] = Field(
        "local",
        description="What runs the units of download, track and shard, and the ranks of training: processes of this "
        "machine, or the Ray cluster of RAY_ADDRESS (none: one on this machine), where workers are those of all nodes.",
    )
    ray_download_cpus: float = Field(
        0.25, ge=0, le=1024, description="CPUs that a connection of download has to itself on a Ray cluster."
    )
    ray_track_cpus: float = Field(
        1.0, ge=0, le=1024, description="CPUs that a worker of track has to itself on a Ray cluster."
    )
    ray_track_gpus: float = Field(
        1.0,
        ge=0,
        le=64,
        description="GPUs that a worker of track has to itself on a Ray cluster, where the estimator is torch or raft "
        "and the device cuda, or auto and the cluster has any; below 1: that share of one.",
    )
    ray_shard_cpus: float = Field(
        1.0, ge=0, le=1024, description="CPUs that a worker of shard has to itself on a Ray cluster."
    )
    batch_units: int = Field(32, ge=1, le=4096, description="Units handed to one Prefect task run.")
    wave_sources: int = Field(
        512, ge=1, description="Deployed: sources that are fetched before tracking begins on what they gave."
    )
    videos_together: int = Field(
        0, ge=0, le=64, description="Videos that a worker tracks side by side; 0: 8 for the torch estimator, else 1."
    )
    unit_memory_bytes: int = Field(
        4_000_000_000, ge=0, description="Memory that one worker may take for its unit, in bytes (Linux); 0: no limit."
    )
    unit_cpu_seconds: float = Field(
        14_400.0, ge=0, description="CPU time that one unit may take, in seconds (Linux); 0: no limit."
    )
    keep_videos: Literal["always", "until_tracked"] = Field(
        "always", description="Keep raw videos, or drop their bytes once they are tracked (fetched again if needed)."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where tensors live; auto takes the best one present."
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.ray_track_gpus > 1 and not self.ray_track_gpus.is_integer():
            raise ValueError(
                f"execution.ray_track_gpus: {self.ray_track_gpus:g} is more than one GPU and no whole number of them"
            )
        return self


class RunConfig(StageConfig):
    """One section a stage, as in the TOML file."""

    seed: int = Field(0, ge=0, description="Seed of the split, of negatives, of training and of intervals.")
    download: DownloadConfig = DownloadConfig()
    track: TrackConfig = TrackConfig()
    shard: ShardConfig = ShardConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="after")
    def _machines_of_ray(self) -> Self:
        if self.execution.runner == "ray" and self.train.machines > 1:
            raise ValueError(
                "train.machines: Ray chooses the machines; leave it at 1 and set train.ranks to all workers, or "
                "execution.runner to local"
            )
        return self

    @model_validator(mode="after")
    def _frames_for_labels(self) -> Self:
        if self.evaluate.labels and self.execution.keep_videos != "always":
            raise ValueError(
                "evaluate.labels: needs the frames of the videos, and execution.keep_videos = "
                f"{self.execution.keep_videos!r} drops them; set it to 'always', or leave the labels empty"
            )
        return self


def sample() -> RunConfig:
    """Small enough for two CPU cores, and the default."""
    return RunConfig()


def paper() -> RunConfig:
    """Wang and Gupta (ICCV 2015), from secondary sources: one 227 px window, KCF, no gates, CaffeNet."""
    return RunConfig(
        track=TrackConfig(
            estimator="kcf",
            working_height_px=448,
            patch_px=227,
            window_scales=(1.0,),
            centre_windows=False,
            windows_per_frame=1,
            start_every_frames=30,  # the paper gives none; KCF at this size costs 0.7 s a frame and five windows
            duplicate_frames=0,
            min_moving_share=0.25,
            max_moving_share=0.75,
            min_confidence=0,
            fb_threshold_px=0,
            min_agreement=0,
            min_ncc=-1,
            min_visible_share=0,
            cut_threshold=1,
        ),
        shard=ShardConfig(patch_px=227, margin=1),
        train=TrainConfig(
            network="caffenet",
            input_px=227,
            embedding=1024,
            steps=400_000,
            pairs_per_batch=50,
            hard_after_step=150_000,
            hard_share=1,
            mining="hard",
            learning_rate=0.001,
            schedule="step",
            decay_every_steps=100_000,
            augment="mirror",
        ),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {"sample": sample, "paper": paper}
