"""Where training begins: trained on from where a unit ended, or from its weights."""

from __future__ import annotations

import pytest
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit, read_file
from storage.root import Root, RootError
from tasks.configuration import key_parameters
from tasks.networks.building import build_network
from tasks.networks.weights import NetworkSpec, load_network, network_files
from tasks.records import METRIC_SCHEMA
from tasks.train.begin import begin, state_bytes
from tasks.train.checkpoint import Checkpoint, save_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.continuing import STATE
from tasks.train.launch import train_network
from tests.tasks.train.conftest import MakeTriplets


def test_trained_on_equals_trained_at_once(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    triplets = make_triplets(("a", "b", "c"))
    whole = small_config.model_copy(
        update={"steps": 16, "schedule": "step", "decay_every_steps": 6, "best_every_steps": 4}
    )
    expected = train_network(root, triplets, whole, _document(whole))
    half = whole.model_copy(update={"steps": 9})
    first = train_network(root, triplets, half, _document(half))
    rest = whole.model_copy(update={"continue_from": first.key})
    second = train_network(root, triplets, rest, _document(rest))
    for name in ("weights.safetensors", "metrics.parquet", "best.safetensors"):
        assert read_file(root, second.files[name]) == read_file(root, expected.files[name])


def test_a_trained_network_gives_its_weights_and_nothing_else(root: Root) -> None:
    config = TrainConfig(embedding=16)
    unit, fresh = _trained(root, config, seed=3), build_network("small", 16, 0)
    start = begin(root, "k" * 64, config.model_copy(update={"init_from": unit.key}), fresh)
    assert (start.step, start.cursor, start.momentum, len(start.metrics)) == (0, 0, {}, 0)
    trained = load_network(root, unit)[0].state_dict()
    assert start.network.keys() == trained.keys()
    assert all(torch.equal(start.network[name], tensor) for name, tensor in trained.items())


def test_its_convolutions_fit_below_another_head(root: Root) -> None:
    unit, fresh = _trained(root, TrainConfig(embedding=16), seed=3), build_network("small", 24, 0)
    config = TrainConfig(embedding=24, init_from=unit.key, init_part="convolutions")
    names = set(begin(root, "k" * 64, config, fresh).network)
    assert names == {name for name in fresh.state_dict() if name.startswith("convolutions.")}
    with pytest.raises(ValueError, match=r"holds head.*choose its network and embedding, or train.init_part"):
        begin(root, "k" * 64, config.model_copy(update={"init_part": "whole"}), fresh)


def test_the_units_own_checkpoint_comes_first(root: Root) -> None:
    config = TrainConfig(embedding=16)
    unit, network = _trained(root, config, seed=3), build_network("small", 16, 0)
    own = Checkpoint(5, 40, "k" * 64, 1.0, 0, network.state_dict(), {}, _no_metrics())
    save_checkpoint(root, "a" * 8, own, keep=2)
    assert begin(root, "k" * 64, config.model_copy(update={"continue_from": unit.key}), network).step == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding": 32}, "is a small network of 16 dimensions trained by ranking and sgd, which this run is not"),
        ({"objective": "infonce"}, "trained by ranking and sgd, which this run is not"),
        ({"context_weight": 0.5}, "trained by ranking and sgd, which this run is not"),
        ({"optimiser": "adamw"}, "trained by ranking and sgd, which this run is not"),
        ({"steps": 30}, "has 30 steps behind it; train.steps counts them too"),
    ],
)
def test_what_cannot_be_trained_on_is_told_in_one_line(root: Root, changes: dict[str, object], words: str) -> None:
    unit = _trained(root, TrainConfig(embedding=16, steps=30), seed=3)
    config = TrainConfig(**{"embedding": 16, "steps": 60, "continue_from": unit.key} | changes)
    with pytest.raises(ValueError, match=words) as raised:
        begin(root, "k" * 64, config, build_network("small", config.embedding, 0))
    assert "\n" not in str(raised.value)


def test_a_unit_without_a_state_or_none_at_all(root: Root) -> None:
    config, network = TrainConfig(embedding=16, steps=60), build_network("small", 16, 0)
    old = _trained(root, TrainConfig(embedding=16, steps=30), seed=3, with_state=False)
    with pytest.raises(ValueError, match=r"kept no state to go on from .*; use train.init_from"):
        begin(root, "k" * 64, config.model_copy(update={"continue_from": old.key}), network)
    with pytest.raises(RootError, match="holds no train unit"):
        begin(root, "k" * 64, config.model_copy(update={"init_from": "f" * 64}), network)


def test_an_input_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="caffenet takes 39 px or more"):
        TrainConfig(network="caffenet", input_px=32)


def test_only_one_beginning() -> None:
    with pytest.raises(ValueError, match="training begins with one of them"):
        TrainConfig(init_from="a", continue_from="b")


def _document(config: TrainConfig, seed: int = 7) -> KeyDocument:
    return KeyDocument(Recipe("train", 1, seed, key_parameters(config)), {"triplets": "0" * 64})


def _trained(root: Root, config: TrainConfig, seed: int, with_state: bool = True) -> Manifest:
    network = build_network(config.network, config.embedding, seed)
    files = network_files(network, NetworkSpec(config.network, config.embedding, config.input_px, seed))
    if with_state:
        ended = Checkpoint(config.steps, 8 * config.steps, "0" * 64, 9.0, 0, network.state_dict(), {}, _no_metrics())
        files[STATE] = state_bytes(ended)
    return commit(root, _document(config, seed), files, counts={"steps": config.steps})


def _no_metrics() -> torch.Tensor:
    return torch.zeros(0, len(METRIC_SCHEMA), dtype=torch.float64)
