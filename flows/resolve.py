"""What a configuration leaves open is settled against the root before anything is planned."""

from __future__ import annotations

from flows.estimator import with_estimator
from flows.runner import with_launcher
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from tasks.presets import RunConfig
from tasks.train.continuing import require_continuable
from tasks.train.extra import require_extras

_MOST_NAMED = 8  # in a message


def resolve(root: Root, dataset: str, config: RunConfig, record: bool = True) -> RunConfig:
    """The configuration with the estimator chosen (see `with_estimator`), and as `resolve_training` leaves it."""
    return with_estimator(root, dataset, resolve_training(root, config), record)


def resolve_training(root: Root, config: RunConfig) -> RunConfig:
    """The configuration with what starts training (`with_launcher`), and trained networks named by whole keys.

    Raises ValueError where `train.init_from` or `train.continue_from` names no trained network, or several, or one
    that cannot be trained on; and as `require_extras` and `with_launcher` do.
    """
    config = with_launcher(config)
    train = config.train
    require_extras(train)
    if train.init_from:
        unit = _trained(root, "init_from", train.init_from)
        train = train.model_copy(update={"init_from": unit.key})
    if train.continue_from:
        unit = _trained(root, "continue_from", train.continue_from)
        require_continuable(unit, train)
        train = train.model_copy(update={"continue_from": unit.key})
    return config.model_copy(update={"train": train})


def _trained(root: Root, field: str, digits: str) -> Manifest:
    found = [key for key in root.names("train") if key.startswith(digits)]
    units = [unit for unit in (read_manifest(root, "train", key) for key in sorted(found)) if unit is not None]
    if len(units) == 1:
        return units[0]
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
