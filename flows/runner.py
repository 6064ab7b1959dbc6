"""Where the units of a stage run: in processes of this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from flows.node import alike
from storage.root import Root
from tasks.limits import Limits
from tasks.pool import Call, WorkerPool
from tasks.presets import RunConfig
from tasks.ray_pool import RayPool
from tasks.track.estimators import TORCH_ESTIMATORS


def unit_pool(
    stage: str,
    config: RunConfig,
    workers: int,
    limits: Limits,
    preload: Sequence[str] = (),
    seen: Sequence[str] = (),
    first: Sequence[Call] = (),
) -> WorkerPool:
    """The worker processes of a stage, as `execution.runner` says; region proposals, whose images are local, stay here.

    `seen`: local paths that every node of a cluster must see; `first`: what each worker there does before any unit.
    """
    execution = config.execution
    if execution.runner == "local":
        return WorkerPool(workers, limits, preload)
    cpus = {
        "download": execution.ray_download_cpus,
        "track": execution.ray_track_cpus,
        "shard": execution.ray_shard_cpus,
    }
    if stage not in cpus:
        return WorkerPool(workers, limits, preload)
    on_torch = stage == "track" and config.track.estimator in TORCH_ESTIMATORS
    gpus = execution.ray_track_gpus if on_torch and execution.device in ("auto", "cuda") else 0.0
    any_will_do = execution.device == "auto"
    return RayPool(workers, limits, preload, cpus[stage], gpus, any_will_do, (alike(seen), *first))


def seen_of(root: Root, path: str) -> tuple[str, ...]:
    """A path of the root that every node must see, where the root is a folder; nothing for an object store."""
    local = root.local_path(path)
    return () if local is None else (str(local),)


def with_launcher(config: RunConfig) -> RunConfig:
    """The configuration with training started through Ray Train where the units run on Ray: no key knows of it.

    Raises ValueError, naming the remedy, where Ray is asked for and not installed.
    """
    if config.execution.runner != "ray":
        return config
    if importlib.util.find_spec("ray") is None:
        raise ValueError("execution.runner: ray is not installed; pip install 'tritrack[ray]', or use local")
    return config.model_copy(update={"train": config.train.model_copy(update={"launcher": "ray"})})
