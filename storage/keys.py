"""Key documents: what a unit's output depends on, readable as JSON and hashed canonically."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


@dataclass(frozen=True)
class KeyDocument:
    """Everything that changes a unit's output, and nothing else: no device, worker count or batch.

    `inputs` holds upstream units by key and outside bytes by digest; `variant` the resolved names
    (estimator, objective, network); `code` the fingerprint of the definitions that the unit runs.
    """

    stage: str
    schema: int
    seed: int = 0
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    variant: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, JSON] = field(default_factory=dict)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return digest_json(asdict(self))

    def to_json(self) -> dict[str, JSON]:
        return dict(asdict(self))


def canonical_json(value: JSON) -> bytes:
    """Sorted keys, no white space, UTF-8; rejects NaN and infinities, whose JSON no two readers agree on."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_json(value: JSON) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@functools.cache
def library_versions(*distributions: str) -> dict[str, str]:
    """Installed versions by distribution name, without importing them; local build tags (+cpu) left out."""
    return {name: metadata.version(name).split("+")[0] for name in distributions}
