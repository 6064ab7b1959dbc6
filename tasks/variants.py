"""Variants: a registry is a dict from a name to the module that holds the variant, imported when selected."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType


def load_variant(registry: Mapping[str, str], name: str, kind: str) -> ModuleType:
    """Import the module behind a name; raises ValueError naming the value and the choices."""
    return importlib.import_module(variant_module(registry, name, kind))


def variant_module(registry: Mapping[str, str], name: str, kind: str) -> str:
    """The module's dotted name, not imported; raises ValueError naming the value and the choices."""
    if name not in registry:
        raise ValueError(f"{kind}: {name!r} is unknown; choose one of {', '.join(sorted(registry))}")
    return registry[name]
