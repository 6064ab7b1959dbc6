"""The key of a train unit."""

from __future__ import annotations

from storage.fingerprint import fingerprint
from storage.keys import KeyDocument, Recipe, library_versions
from tasks.configuration import key_parameters
from tasks.networks import NETWORKS
from tasks.train.config import TrainConfig
from tasks.train.objectives import OBJECTIVES, SAMPLES, samples_of
from tasks.variants import variant_module

SCHEMA = 1


def key_document(config: TrainConfig, seed: int, samples: str) -> KeyDocument:
    """What a trained network depends on; `samples`: the key of the triplet index unit, or for an objective that learns
    labelled images the digest of their folder (`images_digest`).

    Raises ValueError for an unknown network or objective.
    """
    network = variant_module(NETWORKS, config.network, "network")
    names = [config.objective, *(["context"] if config.context_weight else [])]
    objectives = [variant_module(OBJECTIVES, name, "objective") for name in names]
    source = samples_of(config.objective)
    recipe = Recipe(
        stage="train",
        schema=SCHEMA,
        seed=seed,
        parameters=key_parameters(config),
        variant={"network": config.network, "objective": config.objective},
        code=fingerprint("tasks.train.loop:train", variant_module(SAMPLES, source, "samples"), network, *objectives),
        libraries=library_versions("torch", "numpy", "opencv-contrib-python-headless"),
    )
    return KeyDocument(recipe, {"images" if source == "images" else "triplets": samples})
