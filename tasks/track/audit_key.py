"""The audit's key: what an audit of a tracker depends on. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace

from storage.fingerprint import fingerprint
from storage.keys import KeyDocument, library_versions
from tasks.track.config import TrackConfig
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS
from tasks.track.key import recipe
from tasks.variants import variant_module

SCHEMA = 1


def audit_document(config: TrackConfig, seed: int, num_videos: int) -> KeyDocument:
    """What the audit of a configured tracker on so many generated videos depends on.

    The world and its seeds are in the code; so is the miner, and the estimator's module besides. As in a recipe of
    tracks, the estimator is resolved.
    """
    tracker = recipe(config)
    module = variant_module(ESTIMATORS | BOX_TRACKERS, config.estimator, "estimator")
    made = replace(
        tracker,
        stage="audit",
        schema=SCHEMA,
        seed=seed,
        code=fingerprint("tasks.track.audit:audit_tracker", module),
        libraries={**tracker.libraries, **library_versions("numpy")},
    )
    return KeyDocument(made, {"videos": num_videos})
