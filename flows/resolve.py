"""What a configuration leaves open is settled against the root before anything is planned."""

from __future__ import annotations

from flows.estimator import with_estimator
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from tasks.presets import RunConfig

_MOST_NAMED = 8  # in a message


def resolve(root: Root, dataset: str, config: RunConfig, record: bool = True) -> RunConfig:
    """The configuration with the estimator chosen (see `with_estimator`) and trained networks named by whole keys.

    Raises ValueError where `train.init_from` or `train.continue_from` names no trained network, or several.
    """
    config = with_estimator(root, dataset, config, record)
    named = {name: getattr(config.train, name) for name in ("init_from", "continue_from")}
    whole = {name: _trained_key(root, name, digits) for name, digits in named.items() if digits}
    return config.model_copy(update={"train": config.train.model_copy(update=whole)}) if whole else config


def _trained_key(root: Root, field: str, digits: str) -> str:
    found = [key for key in root.names("train") if key.startswith(digits)]
    units = [unit for unit in (read_manifest(root, "train", key) for key in sorted(found)) if unit is not None]
    if len(units) == 1:
        return units[0].key
    if units:
        raise ValueError(f"train.{field}: {digits} begins several keys: {_listed(units)}; give more digits")
    others = [unit for unit in (read_manifest(root, "train", key) for key in root.names("train")) if unit is not None]
    there = f"it holds {_listed(others)}" if others else "it holds none yet"
    raise ValueError(f"train.{field}: {root.url} holds no trained network whose key begins with {digits}; {there}")


def _listed(units: list[Manifest]) -> str:
    """The newest first: key, network, steps, data set and version."""
    newest = sorted(units, key=lambda unit: unit.created, reverse=True)[:_MOST_NAMED]
    words = [
        f"{unit.key[:16]} ({unit.facts['network']}, {unit.counts['steps']:,} steps, "
        f"{unit.facts.get('dataset', '?')} version {unit.facts.get('version', '?')})"
        for unit in newest
    ]
    return ", ".join(words) + (f" and {len(units) - len(newest)} more" if len(units) > len(newest) else "")
