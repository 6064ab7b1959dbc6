"""Configuration of the train stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.configuration import OneOf, StageConfig, outside_key
from tasks.networks import LEAST_PX, NETWORKS
from tasks.train.objectives import OBJECTIVES


class TrainConfig(StageConfig):
    """Siamese-triplet training. Batches are counted in pairs over all ranks together."""

    network: Annotated[str, OneOf(NETWORKS)] = Field("small", description="The network.")
    objective: Annotated[str, OneOf(OBJECTIVES)] = Field(
        "ranking",
        description="The loss: ranking or infonce of tracked pairs; and to compare with, slowness (pairs without "
        "negatives), context (relative position of patches), autoencoder, or supervised (classes of images).",
    )
    images: str = outside_key(
        "", "Local folder that supervised learns from: a subfolder of images a class. Its names and bytes are the key."
    )
    input_px: int = Field(64, ge=32, le=512, description="Side of the network's input.")
    embedding: int = Field(128, ge=8, le=4096, description="Width of the embedding.")
    steps: int = Field(1200, ge=1, description="Optimiser steps.")
    pairs_per_batch: int = Field(
        64, ge=2, description="Pairs (images, of supervised) in a batch, over all ranks together."
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=4096,
        description="Parts that each rank's share of a batch goes through the network in: less memory, more time, the "
        "same gradient, whose negatives are those of the whole batch.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the network's forward pass; weights, embeddings and loss are always float32."
    )
    margin: float = Field(0.5, gt=0, le=2, description="Margin of the ranking hinge, on cosine distance.")
    both_hinges: bool = Field(
        False, description="Rank the negative against the positive patch too, as the authors' code does."
    )
    temperature: float = Field(0.1, gt=0, le=10, description="Temperature of InfoNCE's softmax over cosines.")
    context_weight: float = Field(
        0.0, ge=0, le=100, description="Weight of the context objective beside the other one; 0: without it."
    )
    negatives: Literal["other_videos", "far_away"] = Field(
        "other_videos",
        description="Which images of the batch may be negatives: those of other videos; or also those of the same "
        "video that were tracked at the same time, far away in the picture.",
    )
    wrong_pairs: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the pairs whose positive is that of another pair of the same video, as where a tracker "
        "went astray: how tracking errors change what is learned.",
    )
    num_negatives: int = Field(4, ge=1, description="Negatives per pair of the ranking hinge; infonce takes all.")
    hard_after_step: int = Field(
        300, ge=0, description="From this step on, negatives are the hardest of the batch instead of random."
    )
    hard_share: float = Field(
        0.5, gt=0, le=1, description="Share of hard negatives from then on, rounded up; the others stay random."
    )
    mining: Literal["semi_hard", "hard"] = Field(
        "semi_hard",
        description="Hard negatives are the nearest of all, or (semi_hard) of those farther than the positive.",
    )
    optimiser: Literal["sgd", "adamw"] = Field("sgd", description="SGD with momentum, as the paper, or AdamW.")
    learning_rate: float = Field(0.05, gt=0, description="Step size at the start; AdamW wants about 0.001.")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the step size grows to that.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD, first beta of AdamW.")
    weight_decay: float = Field(0.0005, ge=0, description="Weight decay; AdamW's, 0.01 to 0.1, is times the step size.")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="Decay to 0 by a half cosine, or by 10 every `decay_every_steps`."
    )
    decay_every_steps: int = Field(100_000, ge=1, description="Steps between the decays of the step schedule.")
    augment: Literal["mirror", "crop", "colour", "blur"] = Field(
        "colour", description="mirror only; with random crops; with colour changes too; with blur too."
    )
    smallest_crop: float = Field(
        0.6, ge=0.1, le=1, description="Side of the smallest random crop, as a share of the stored crop's side."
    )
    init_from: str = Field(
        "", description="First digits of the key of a trained network whose weights training begins with."
    )
    init_part: Literal["whole", "convolutions"] = Field(
        "whole", description="What is taken of init_from: all of the network, or all but its head."
    )
    continue_from: str = Field(
        "",
        description="First digits of the key of a trained network that is trained on, its momentum and place in the "
        "order kept; steps counts those behind it too.",
    )
    best_every_steps: int = Field(
        0,
        ge=0,
        description="Steps in each window whose mean loss is compared: the weights after the lowest are kept beside "
        "the last ones, as best.safetensors; 0: not kept.",
    )
    skip_budget: int = outside_key(
        3,
        "Steps in a row, and a tenth of those in all, that may be left out because their loss or gradients are no "
        "finite numbers; with more the run ends as diverged.",
        ge=0,
        le=1000,
    )
    ranks: int = outside_key(1, "Processes that train together on each machine, or in the Ray cluster.", ge=1, le=64)
    launcher: Literal["torchrun", "ray"] = outside_key(
        "torchrun",
        "What starts the ranks: torchrun, or Ray Train on the cluster of RAY_ADDRESS (none: one on this machine).",
    )
    restarts: int = outside_key(
        3, "How often ranks that were killed begin again from the newest checkpoint, without a new one between.", ge=0
    )
    machines: int = outside_key(
        1,
        "Machines that train together, `ranks` processes on each: start the same command on all of them, with a root "
        "that all share (an object store, or a folder mounted on each).",
        ge=1,
        le=1024,
    )
    rendezvous: str = outside_key(
        "", "Where several machines meet: host:port of one of them, by a name or address that the host itself knows."
    )
    checkpoint_every_steps: int = outside_key(
        200, "Steps between the checkpoints that a killed run goes on from.", ge=1
    )
    keep_checkpoints: int = outside_key(2, "The newest checkpoints of a running training that are kept.", ge=1, le=1000)
    tensorboard: str = outside_key(
        "", "Local folder that TensorBoard reads: curves and pictures of the training while it goes; empty: none."
    )
    loader_workers: int = outside_key(1, "Threads of each rank that read and decode ahead of the network.", ge=1, le=64)
    cache_bytes: int = outside_key(
        20_000_000_000, "Bytes of remote shards kept on this machine's disk (in TRITRACK_CACHE).", ge=0
    )

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.input_px < LEAST_PX[self.network]:
            raise ValueError(f"train.input_px: {self.network} takes {LEAST_PX[self.network]} px or more")
        return self

    @model_validator(mode="after")
    def _a_local_folder(self) -> Self:
        if "://" in self.tensorboard:
            raise ValueError(f"train.tensorboard: takes a folder of this machine, not {self.tensorboard}")
        return self

    @model_validator(mode="after")
    def _a_window_ends(self) -> Self:
        if self.best_every_steps > self.steps:
            raise ValueError(
                f"train.best_every_steps: no window of {self.best_every_steps} steps ends within {self.steps}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _meeting_place(self) -> Self:
        if self.machines > 1 and self.launcher == "ray":
            raise ValueError(
                "train.machines: Ray chooses the machines; leave it at 1 and set train.ranks to all workers"
            )
        host, _, port = self.rendezvous.rpartition(":")
        if self.machines > 1 and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(
                f"train.rendezvous: {self.rendezvous!r} is no host:port where {self.machines} machines can meet, such "
                "as node0:29500 (one of them, with a port that the others reach)"
            )
        return self

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.init_from and self.continue_from:
            raise ValueError(
                "train.init_from, train.continue_from: training begins with one of them; leave the other empty"
            )
        return self

    @model_validator(mode="after")
    def _images_with_labels(self) -> Self:
        if self.objective == "supervised" and not self.images:
            raise ValueError("train.images: empty; supervised learns from a folder with a subfolder of images a class")
        if self.objective == "supervised" and self.context_weight:
            raise ValueError(
                "train.context_weight: adds to an objective of tracked pairs, not to supervised; set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _pairs_to_get_wrong(self) -> Self:
        if self.wrong_pairs and self.objective == "supervised":
            raise ValueError("train.wrong_pairs: supervised learns from images, not from pairs; set it to 0")
        return self

    @model_validator(mode="after")
    def _context_beside_another(self) -> Self:
        if self.objective == "context" and self.context_weight:
            raise ValueError(
                "train.context_weight: adds the context objective to another one, and train.objective is "
                "'context' already; set it to 0, or choose another objective"
            )
        return self
