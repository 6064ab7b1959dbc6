"""The track stage's key: which units an edit makes again. Imports nothing heavy."""

from __future__ import annotations

import functools

from storage.fingerprint import fingerprint
from storage.keys import KeyDocument, Recipe, library_versions
from tasks.configuration import key_parameters
from tasks.track.config import TrackConfig
from tasks.track.estimators import ESTIMATORS
from tasks.variants import variant_module

SCHEMA = 1


def key_document(config: TrackConfig, video: str) -> KeyDocument:
    """What the tracks of one video depend on; `video` is the SHA-256 (hex) of its bytes."""
    return KeyDocument(recipe(config), {"video": video})


@functools.lru_cache(maxsize=64)
def recipe(config: TrackConfig) -> Recipe:
    """The recipe of every video's tracks.

    The estimator is a variant: its own module enters the fingerprint, the other estimators' do not.
    """
    module = variant_module(ESTIMATORS, config.estimator, "estimator")
    parameters = key_parameters(config)
    parameters.pop("estimator")
    return Recipe(
        stage="track",
        schema=SCHEMA,
        parameters=parameters,
        variant={"estimator": config.estimator},
        code=fingerprint("tasks.track.video:track_video", module),
        libraries=library_versions("av", "opencv-contrib-python-headless"),
    )
