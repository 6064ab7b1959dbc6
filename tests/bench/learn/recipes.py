"""What `make learn` trains: one recipe, and each of its ingredients taken away alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Overrides = Mapping[str, object]

# Chosen between the halves of the training images, on one seed; no test image was asked.
MINING: Overrides = {
    "track.patch_px": 84,
    "track.window_scales": [0.6, 1.0, 1.6, 2.4],
    "track.start_every_frames": 3,
    "track.windows_per_frame": 10,
    "track.min_confidence": 0.6,
    "track.max_tracks": 400,
    "track.duplicate_frames": 6,
    "shard.patch_px": 96,
    "shard.margin": 1.5,
    "shard.held_out_share": 0.15,
}
TRAINING: Overrides = {
    "train.network": "medium",
    "train.objective": "infonce",
    "train.temperature": 0.2,
    "train.input_px": 64,
    "train.pairs_per_batch": 128,
    "train.steps": 1500,
    "train.optimiser": "adamw",
    "train.learning_rate": 0.002,
    "train.weight_decay": 0.05,
    "train.warmup_steps": 50,
    "train.augment": "blur",
    "train.smallest_crop": 0.4,
    "evaluate.audit_videos": 0,  # generated ones, which have nothing to do with this
}
SAMPLE_TRACKS: Overrides = {
    "track.patch_px": 72,
    "track.window_scales": [0.67, 1.0, 1.5],
    "track.start_every_frames": 5,
    "track.windows_per_frame": 5,
    "track.min_confidence": 0.82,
    "track.max_tracks": 200,
    "track.duplicate_frames": 10,
}


@dataclass(frozen=True)
class Recipe:
    """Overrides of the configuration, and in words what they change."""

    words: str
    changes: Overrides = field(default_factory=dict)

    def overrides(self, steps: int | None = None) -> Overrides:
        """All of them; `steps`: of training, instead of the recipe's."""
        return {**MINING, **TRAINING, **self.changes, **({} if steps is None else {"train.steps": steps})}


RECIPES = {
    "learn": Recipe("the recipe"),
    "sample_tracks": Recipe("fewer tracks, through the gates of the sample preset", SAMPLE_TRACKS),
    "loose_tracks": Recipe("no gate on confidence", {"track.min_confidence": 0.0}),
    "ranking": Recipe("the ranking hinge instead of InfoNCE", {"train.objective": "ranking"}),
    "far_away": Recipe("negatives of the same video too", {"train.negatives": "far_away"}),
    "colour": Recipe("no blur", {"train.augment": "colour"}),
    "crop": Recipe("crops and mirrors alone", {"train.augment": "crop"}),
    "mirror": Recipe("mirrors alone, as the paper", {"train.augment": "mirror"}),
    "context": Recipe("the context task beside", {"train.context_weight": 0.2}),
    "sgd": Recipe("SGD instead of AdamW", {
        "train.optimiser": "sgd", "train.learning_rate": 0.03, "train.weight_decay": 0.0005,
    }),
}  # fmt: skip
