"""What `make learn` trains: one recipe, and each of its ingredients taken away alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Overrides = Mapping[str, object]

MINING: Overrides = {
    "shard.patch_px": 96,
    "shard.margin": 1.5,
    "shard.held_out_share": 0.15,
}
TRAINING: Overrides = {
    "train.network": "small",
    "train.objective": "infonce",
    "train.input_px": 64,
    "train.pairs_per_batch": 128,
    "train.steps": 2000,
    "train.learning_rate": 0.03,
    "train.augment": "blur",
    "train.smallest_crop": 0.4,
}


@dataclass(frozen=True)
class Recipe:
    """Overrides of the configuration, and in words what they change."""

    words: str
    changes: Overrides = field(default_factory=dict)

    @property
    def overrides(self) -> Overrides:
        return {**MINING, **TRAINING, **self.changes}


RECIPES = {
    "learn": Recipe("the recipe"),
    "default_tracks": Recipe("fewer tracks: the gates and windows of the sample preset", {}),
    "ranking": Recipe("the paper's ranking hinge instead of InfoNCE", {"train.objective": "ranking"}),
    "far_away": Recipe("negatives of the same video too", {"train.negatives": "far_away"}),
    "no_blur": Recipe("no blur", {"train.augment": "colour"}),
    "no_colour": Recipe("crops and mirrors alone", {"train.augment": "crop"}),
    "mirror": Recipe("mirrors alone, as the paper", {"train.augment": "mirror"}),
    "context": Recipe("with the context task beside", {"train.context_weight": 0.2}),
}
