"""What a configuration leaves open: trained networks named by the first digits of their keys."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from flows.resolve import resolve
from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import Root, open_root
from tasks.configuration import key_parameters
from tasks.presets import RunConfig, sample
from tasks.train.continuing import STATE


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def trained(root: Root, seed: int) -> Manifest:
    facts = {"network": "small", "dataset": "night", "version": seed}
    recipe = Recipe("train", 1, seed, key_parameters(sample().train))
    return commit(root, KeyDocument(recipe), {STATE: b"state"}, counts={"steps": 1200}, facts=facts)


def beginning(field: str, digits: str) -> RunConfig:
    return sample().model_copy(update={"train": sample().train.model_copy(update={field: digits, "steps": 2000})})


@pytest.mark.parametrize("field", ["init_from", "continue_from"])
def test_first_digits_become_the_whole_key(root: Root, field: str) -> None:
    unit, _ = trained(root, 1), trained(root, 2)
    resolved = resolve(root, "night", beginning(field, unit.key[:12]))
    assert getattr(resolved.train, field) == unit.key
    assert resolve(root, "night", beginning(field, unit.key)).train == resolved.train


def test_one_that_cannot_be_trained_on_is_refused_before_anything_runs(root: Root) -> None:
    unit = trained(root, 1)
    config = beginning("continue_from", unit.key[:12])
    short = config.model_copy(update={"train": config.train.model_copy(update={"steps": 1200})})
    with pytest.raises(ValueError, match="has 1,200 steps behind it"):
        resolve(root, "night", short)


def test_digits_of_none_or_of_several_are_told_with_what_there_is(root: Root) -> None:
    with pytest.raises(ValueError, match=r"train.init_from: .* begins with 12ab; it holds none yet"):
        resolve(root, "night", beginning("init_from", "12ab"))
    units = [trained(root, seed) for seed in range(20)]
    digits = [unit.key[0] for unit in units]
    first = max(digits, key=digits.count)
    alike = [unit for unit in units if unit.key.startswith(first)]
    assert len(alike) > 1, "twenty keys share first digits"
    with pytest.raises(ValueError, match=rf"{first} begins several keys: {first}.*give more digits"):
        resolve(root, "night", beginning("continue_from", first))
    with pytest.raises(ValueError, match=r"\(small, 1,200 steps, night version \d+\).* and 12 more"):
        resolve(root, "night", beginning("continue_from", "zz"))


def test_a_log_without_its_package_is_refused_before_anything_runs(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sample().model_copy(update={"train": sample().train.model_copy(update={"tensorboard": "logs"})})
    assert resolve(root, "night", config).train.tensorboard == "logs"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert resolve(root, "night", sample()).train == sample().train
    with pytest.raises(ValueError, match=r"tensorboard is not installed; pip install 'tritrack\[tensorboard\]'"):
        resolve(root, "night", config)


def test_without_a_beginning_nothing_is_looked_up(root: Root) -> None:
    assert resolve(root, "night", sample()).train == sample().train
