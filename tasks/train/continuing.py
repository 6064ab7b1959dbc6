"""Which trained units may be trained on, told before anything runs: it needs no torch."""

from __future__ import annotations

from storage.manifests import Manifest
from tasks.train.config import TrainConfig
from tasks.train.folder import class_names
from tasks.train.objectives import samples_of

STATE = "state.safetensors"
"""A unit's file beside its weights: what going on needs besides them, as a checkpoint without the network."""


def require_continuable(manifest: Manifest, config: TrainConfig) -> None:
    """Raises ValueError, in one line, where a run of this configuration cannot go on from the unit's end."""
    named, trained = f"train.continue_from: {manifest.key[:16]}", manifest.recipe.parameters
    network, embedding, objective = trained["network"], trained["embedding"], trained["objective"]
    with_context, optimiser = bool(trained.get("context_weight")), trained.get("optimiser", "sgd")
    kind = (config.network, config.embedding, config.objective, bool(config.context_weight), config.optimiser)
    if (network, embedding, objective, with_context, optimiser) != kind:
        raise ValueError(
            f"{named} is a {network} network of {embedding} dimensions trained by {objective}"
            f"{' with context' * with_context} and {optimiser}, which this run is not; use the same, or "
            "train.init_from, which takes the weights alone"
        )
    if samples_of(config.objective) == "images" and (classes := class_names(config.images)) != _classes(manifest):
        raise ValueError(
            f"{named} tells {len(_classes(manifest))} classes apart, and train.images holds {len(classes)} others; "
            "use train.init_from, which takes the weights alone"
        )
    if STATE not in manifest.files:
        raise ValueError(f"{named} kept no state to go on from (an older Tritrack); use train.init_from")
    if manifest.counts["steps"] >= config.steps:
        steps = manifest.counts["steps"]
        raise ValueError(f"{named} has {steps:,} steps behind it; train.steps counts them too, raise it above that")


def _classes(manifest: Manifest) -> tuple[str, ...]:
    classes = manifest.facts["classes"]
    assert isinstance(classes, list), "a unit of labelled images names them"
    return tuple(map(str, classes))
