"""Key documents: what a unit's output depends on, readable as JSON and hashed canonically."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


@dataclass(frozen=True)
class Recipe:
    """How a stage makes any of its units: all that changes an output, but the inputs. No device, worker count or batch.

    `variant` holds the resolved names (estimator, objective, network); `code` the fingerprint of the definitions
    that the unit runs, a digest a module; `libraries` the versions of those that change the output.
    """

    stage: str
    schema: int
    seed: int = 0
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    variant: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, JSON]:
        return dict(asdict(self))


@dataclass(frozen=True)
class KeyDocument:
    """A recipe and the inputs of one unit: upstream units by key, outside bytes by digest."""

    recipe: Recipe
    inputs: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        return self.recipe.stage

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hex) of the canonical JSON of {"recipe": its digest, "inputs": the inputs}.

        In two levels, so that planning a hundred thousand units hashes their common recipe once.
        """
        return digest_json({"inputs": self.inputs, "recipe": self.recipe.digest})

    def to_json(self) -> dict[str, JSON]:
        return {"recipe": self.recipe.to_json(), "inputs": dict(self.inputs)}


def document_from_json(value: Mapping[str, JSON]) -> KeyDocument:
    """A key document from what `to_json` gave; raises TypeError or KeyError where it is none."""
    recipe, inputs = value["recipe"], value["inputs"]
    if not isinstance(recipe, Mapping) or not isinstance(inputs, Mapping):
        raise TypeError("a key document holds a recipe and inputs")
    return KeyDocument(Recipe(**recipe), inputs)  # type: ignore[arg-type]  # JSON checked by whoever hashes it


def canonical_json(value: JSON) -> bytes:
    """Sorted keys, no white space, UTF-8; rejects NaN and infinities, whose JSON no two readers agree on."""
    return _ENCODER.encode(value).encode()


def digest_json(value: JSON) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def recipe_differences(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> list[str]:
    """What changed between two recipes (as JSON): "fb_threshold_px 1.0 → 0.8", "code: tasks/track/gates.py"."""
    return [*_own_differences(before, after), *_given_differences(before, after)]


def is_blessable(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> bool:
    """Whether two recipes (as JSON) differ in nothing but code and library versions."""
    return not _own_differences(before, after)


def _own_differences(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> list[str]:
    """Differences of what the user asked for."""
    found = [
        f"{name} {before.get(name)} → {after.get(name)}"
        for name in ("stage", "schema", "seed")
        if before.get(name) != after.get(name)
    ]
    for section in ("variant", "parameters"):
        old, new = _section(before, section), _section(after, section)
        found += [
            f"{name} {_shown(old, name)} → {_shown(new, name)}"
            for name in sorted({*old, *new})
            if (name in old, old.get(name)) != (name in new, new.get(name))
        ]
    return found


def _given_differences(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> Iterator[str]:
    """Differences of what it runs on."""
    old, new = _section(before, "code"), _section(after, "code")
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"code: {_file_of(name)}" + (" (new)" if name not in old else " (gone)" if name not in new else "")
    old, new = _section(before, "libraries"), _section(after, "libraries")
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"library: {name} {_shown(old, name)} → {_shown(new, name)}"


def _section(recipe: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    section = recipe.get(name)
    return section if isinstance(section, Mapping) else {}


def _file_of(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (_PROJECT / path).is_dir() else f"{path}.py"


def _shown(section: Mapping[str, JSON], name: str) -> str:
    return str(section[name]) if name in section else "(none)"


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@functools.cache
def library_versions(*distributions: str) -> dict[str, str]:
    """Installed versions by distribution name, without importing them; local build tags (+cpu) left out."""
    return {name: metadata.version(name).split("+")[0] for name in distributions}
