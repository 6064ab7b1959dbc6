"""What every stage's configuration shares: frozen, unknown fields forbidden, and which fields enter a key."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from storage.keys import JSON


class StageConfig(BaseModel):
    """A stage's configuration: flat, so that the Prefect form, TOML and the command line can share it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class OneOf:
    """`Annotated[str, OneOf(REGISTRY)]`: a field that takes the names of a registry, as a Literal of them would; so a
    variant is named in one place."""

    def __init__(self, *names: Iterable[str]) -> None:
        self.names = [name for part in names for name in part]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


def outside_key(default: Any, description: str, **bounds: Any) -> Any:
    """A field that says how the work is done, not what comes out: changing it never redoes a unit."""
    return Field(default, description=description, json_schema_extra={"in_key": False}, **bounds)


def enters_key(field: FieldInfo) -> bool:
    """Whether a field of a stage's configuration is part of its units' keys."""
    return (field.json_schema_extra or {}) != {"in_key": False}


def key_parameters(config: StageConfig) -> dict[str, JSON]:
    """The fields that enter the key, as JSON."""
    kept = {name for name, field in type(config).model_fields.items() if enters_key(field)}
    return config.model_dump(mode="json", include=kept)


def settings_text(config: StageConfig, names: Iterable[str]) -> str:
    """The named fields and their values as a JSON object, as a failure keeps them; empty where there are none."""
    values = config.model_dump(mode="json", include=set(names))
    return json.dumps(values, sort_keys=True) if values else ""
