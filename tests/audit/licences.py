"""The licences of what an installation of Tritrack brings along, beside those that are allowed."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path

from boolean import Expression
from license_expression import ExpressionError, get_spdx_licensing
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_SHIPPED_EXTRAS = ("demo", "onnx", "ray", "tensorboard")
_MOST_CHARACTERS = 60  # of a licence's name; a longer field is the licence itself
_SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Reviewed:
    """What may pass: SPDX identifiers, other spellings of them, and patterns of packages with the reason."""

    allowed: Collection[str]
    spellings: Mapping[str, str]
    exceptions: Mapping[str, str]


def licence_faults(project: Path, reviewed: Reviewed) -> list[str]:
    """In words, each package whose licence is not allowed, and each exception for one package that needs none."""
    faults, needed = [], set[str]()
    for name in sorted(dependencies(project)):
        licence = licence_of(importlib.metadata.metadata(name), reviewed.spellings)
        if is_allowed(licence, reviewed.allowed):
            continue
        patterns = {pattern for pattern in reviewed.exceptions if fnmatchcase(name, pattern)}
        needed |= patterns
        if not patterns:
            faults.append(f"{name}: licence {licence or 'unknown'!r} is not allowed; see tests/audit/reviewed.toml")
    unneeded = sorted(pattern for pattern in reviewed.exceptions.keys() - needed if "*" not in pattern)
    return faults + [f"{name}: an exception for its licence stands in reviewed.toml without need" for name in unneeded]


def dependencies(project: Path) -> set[str]:
    """All packages that are installed with Tritrack and its optional parts, those for development left out."""
    head = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    asked = [*head["dependencies"], *(line for name in _SHIPPED_EXTRAS for line in head["optional-dependencies"][name])]
    found, waiting = set[tuple[str, str]](), list(_wanted(asked, ""))
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            waiting += _wanted(importlib.metadata.distribution(name).requires or (), extra)
    return {name for name, _ in found}


def licence_of(metadata: Message | importlib.metadata.PackageMetadata, spellings: Mapping[str, str]) -> str:
    """A package's licence as an expression where it gives one, else by its name, else by its classifiers."""
    field = (metadata["License"] or "").strip()
    if expression := metadata["License-Expression"]:
        return str(expression)
    if field and len(field) <= _MOST_CHARACTERS and "\n" not in field:
        return spellings.get(field, field)
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    return " OR ".join(dict.fromkeys(spellings.get(name, name) for name in classifiers))


def is_allowed(licence: str, allowed: Collection[str]) -> bool:
    """Whether an expression can be met with allowed licences: all that AND joins, one of what OR joins."""
    try:
        return bool(licence) and _is_met(_SPDX.parse(licence, validate=True), allowed)
    except ExpressionError:
        return False


def _is_met(expression: Expression, allowed: Collection[str]) -> bool:
    if expression.isliteral:
        return str(expression) in allowed
    met = [_is_met(part, allowed) for part in expression.args]
    return all(met) if isinstance(expression, _SPDX.AND) else any(met)


def _wanted(lines: Collection[str], extra: str) -> Iterator[tuple[str, str]]:
    """What requirements ask for on this machine: (name, extra), also without one."""
    for line in lines:
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate({**default_environment(), "extra": extra}):
            for one in ("", *asked.extras):
                yield canonicalize_name(asked.name), one
