"""The track stage's key: which units an edit makes again. Imports nothing heavy."""

from __future__ import annotations

import functools

from storage.fingerprint import fingerprint
from storage.keys import KeyDocument, Recipe, library_versions
from tasks.configuration import key_parameters
from tasks.track.config import TrackConfig
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS, TORCH_ESTIMATORS
from tasks.track.raft_weights import weights_digest
from tasks.variants import variant_module

SCHEMA = 2


def key_document(config: TrackConfig, video: str) -> KeyDocument:
    """What the tracks of one video depend on; `video` is the SHA-256 (hex) of its bytes."""
    return KeyDocument(recipe(config), {"video": video})


@functools.lru_cache(maxsize=64)
def recipe(config: TrackConfig) -> Recipe:
    """The recipe of every video's tracks. The estimator is resolved: `auto` has no recipe.

    The estimator is a variant: its own module enters the fingerprint, the other estimators' do not. RAFT's weights
    enter by their digest. Raises ValueError where they are missing.
    """
    assert config.estimator != "auto", "the estimator is chosen before anything is planned"
    module = variant_module(ESTIMATORS | BOX_TRACKERS, config.estimator, "estimator")
    parameters = key_parameters(config)
    parameters.pop("estimator")
    variant: dict[str, str] = {"estimator": config.estimator}
    libraries = ["av", "opencv-contrib-python-headless"]
    if config.estimator in TORCH_ESTIMATORS:
        libraries.append("torch")
    if config.estimator == "raft":
        variant["weights"] = weights_digest()
    return Recipe(
        stage="track",
        schema=SCHEMA,
        parameters=parameters,
        variant=variant,
        code=fingerprint("tasks.track.video:track_video", module),
        libraries=library_versions(*libraries),
    )
