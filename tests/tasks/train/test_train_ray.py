"""Training on a Ray cluster: what torchrun's ranks give, and nobody left behind."""

from __future__ import annotations

import importlib.util
import logging

import psutil
import pytest

from storage.root import Root
from tasks.train.config import TrainConfig
from tasks.train.launch import train_network
from tests.tasks.train.conftest import MakeTriplets
from tests.tasks.train.test_train_launch import _bytes, _document


@pytest.mark.slow
@pytest.mark.timeout(600)  # a cluster starts a dozen processes
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'tritrack[ray]'")
def test_two_workers_of_ray_train_as_two_ranks_of_torchrun(
    root: Root,
    make_triplets: MakeTriplets,
    small_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    triplets = make_triplets(("a", "b", "c"))
    config = small_config.model_copy(update={"ranks": 2, "pairs_per_batch": 7})
    on_ray, on_torchrun = _document("ray", config, triplets), _document("torchrun", config, triplets)
    told: list[int] = []
    tree: set[psutil.Process] = set()
    before = set(psutil.Process().children(recursive=True))  # servers of other tests

    def watch(done: int, total: int, note: str = "") -> None:
        told.append(done)
        tree.update(set(psutil.Process().children(recursive=True)) - before)

    with caplog.at_level(logging.INFO):
        manifest = train_network(
            root, triplets, config.model_copy(update={"launcher": "ray"}), on_ray, device="cpu", progress=watch
        )
    assert told[-1] == config.steps
    assert "trained 24 steps" in caplog.text
    assert len(tree) > 3, "the cluster's processes"
    _, alive = psutil.wait_procs(tree, timeout=20)
    assert alive == []
    same = train_network(root, triplets, config, on_torchrun, device="cpu")
    for name in ("weights.safetensors", "metrics.parquet"):
        assert _bytes(root, manifest, name) == _bytes(root, same, name)


def test_without_ray_the_remedy_is_told(root: Root, small_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = small_config.model_copy(update={"launcher": "ray"})
    with pytest.raises(ValueError, match=r"ray is not installed; pip install 'tritrack\[ray\]'"):
        train_network(root, "0" * 64, config, _document("ray", config, ""))
