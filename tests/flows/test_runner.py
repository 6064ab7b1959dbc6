"""Which pool runs a stage, with which resources, and what is told before anything runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.node import alike, require_alike
from flows.resolve import resolve
from flows.runner import unit_pool, with_launcher
from storage.root import Root, open_root
from tasks.limits import NO_LIMITS
from tasks.pool import WorkerPool
from tasks.presets import RunConfig
from tasks.ray_pool import RayPool
from tests.flows.imagined import chosen


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path))


def _on_ray(estimator: str = "klt", **execution: Any) -> RunConfig:
    document = chosen().model_dump()
    document["track"]["estimator"] = estimator
    document["execution"] |= {"runner": "ray", **execution}
    return RunConfig.model_validate(document)


@pytest.mark.parametrize(
    ("stage", "config", "cpus", "gpus"),
    [
        ("download", _on_ray(), 0.25, 0),
        ("track", _on_ray(ray_track_cpus=2), 2, 0),
        ("track", _on_ray("torch"), 1, 1),
        ("track", _on_ray("raft", device="cuda", ray_track_gpus=0.5), 1, 0.5),
        ("track", _on_ray("torch", device="cpu"), 1, 0),
        ("shard", _on_ray("torch", ray_shard_cpus=3), 3, 0),
    ],
)
def test_a_stage_asks_for_its_own_resources_and_only_a_cuda_estimator_for_gpus(
    stage: str, config: RunConfig, cpus: float, gpus: float
) -> None:
    pool = unit_pool(stage, config, 7, NO_LIMITS)
    assert isinstance(pool, RayPool)
    assert (pool.workers, pool.num_cpus, pool.num_gpus) == (7, cpus, gpus)
    assert pool.gpus_where_any == (config.execution.device == "auto")


@pytest.mark.parametrize(("stage", "config"), [("track", chosen()), ("evaluate", _on_ray())])
def test_what_is_not_mapped_over_ray_stays_on_this_machine(stage: str, config: RunConfig) -> None:
    assert type(unit_pool(stage, config, 2, NO_LIMITS)) is WorkerPool


def test_on_ray_training_is_started_by_ray_train_and_its_key_stays(root: Root) -> None:
    config = resolve(root, "night", _on_ray(), record=False)
    assert config.train.launcher == "ray"
    assert with_launcher(chosen()).train.launcher == "torchrun"


def test_without_ray_the_remedy_is_told_before_anything_runs(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(ValueError, match=r"execution.runner: ray is not installed; pip install 'tritrack\[ray\]'"):
        resolve(root, "night", _on_ray(), record=False)


def test_a_node_with_another_tritrack_or_library_is_refused(tmp_path: Path) -> None:
    versions, seen = alike([str(tmp_path)]).arguments
    require_alike(versions, seen)
    with pytest.raises(ValueError, match="another Tritrack, torch than the machine where the run was started"):
        require_alike(versions | {"Tritrack": "0" * 16, "torch": "1.0"}, seen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"execution": {"ray_track_gpus": 1.5}}, "no whole number"),
        (
            {"execution": {"runner": "ray"}, "train": {"machines": 2, "rendezvous": "node0:29500"}},
            "Ray chooses the machines",
        ),
    ],
)
def test_what_ray_cannot_do_is_refused(change: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RunConfig.model_validate(change)
