"""The estimator of a data set: chosen once, by the device that tracks first, and kept whatever device comes later."""

from __future__ import annotations

import logging

from storage.registers import change_register, read_register
from storage.root import Root
from tasks.presets import RunConfig
from tasks.track.choose import choose_estimator

_log = logging.getLogger(__name__)


def with_estimator(root: Root, dataset: str, config: RunConfig, record: bool = True) -> RunConfig:
    """The configuration with `track.estimator` resolved.

    `auto` takes what is recorded for the data set, else what suits this machine's device; with `record` that choice
    is stored, and of two machines that choose at once the first one's stands. The estimator is part of every track's
    key: a data set that began on a laptop goes on with `klt` on a GPU machine, until somebody names another.
    """
    if config.track.estimator != "auto":
        return config
    folder = f"state/estimators/{dataset}"
    known = str(read_register(root, folder).get("estimator", ""))
    if not known:
        known = choose_estimator(_device(config.execution.device))
        if record:
            known = str(change_register(root, folder, lambda current: current or {"estimator": known})["estimator"])
            _log.info("track: %s follows by %s, chosen once for all its videos", dataset, known)
    return config.model_copy(update={"track": config.track.model_copy(update={"estimator": known})})


def _device(name: str) -> str:
    if name != "auto":
        return name
    from tasks.device import resolve_device  # here, since torch takes seconds and is asked once a data set

    return resolve_device(name).type
