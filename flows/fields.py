"""Every parameter of a run in a table: name, default, what it may be, and what it does. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.forms import SECTIONS
from tasks.configuration import StageConfig, enters_key
from tasks.presets import RunConfig

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Parameter:
    """One field of the configuration, as `--set` and TOML name it; `allowed`: its choices or bounds, in words."""

    name: str
    default: object
    allowed: str
    description: str
    in_key: bool


def parameters_of(section: str = "") -> list[Parameter]:
    """The parameters of one section, or of all. Raises ValueError, naming the sections, for one that is not there."""
    found = list(_all_parameters())
    sections = list(dict.fromkeys(parameter.name.partition(".")[0] for parameter in found))
    if section and section not in sections:
        raise ValueError(f"parameters: {section!r} is unknown; choose one of {', '.join(sections)}")
    return [one for one in found if not section or one.name.partition(".")[0] == section]


def show_parameters(section: str, console: Console, *, as_json: bool) -> None:
    """Print them as a table or as JSON."""
    from rich.markup import escape
    from rich.table import Column, Table

    from flows.maintain import dump

    found = parameters_of(section)
    if as_json:
        dump([asdict(one) for one in found])
        return
    table = Table(Column("parameter", no_wrap=True), "default", "allowed", Column("what it does", ratio=1))
    for one in found:
        default = escape(str(one.default)) if one.default not in ("", ()) else ""
        table.add_row(one.name, default, escape(one.allowed), escape(one.description))
    console.print(table)


def _all_parameters() -> Iterator[Parameter]:
    for name, info in RunConfig.model_fields.items():
        if name in SECTIONS:
            yield from _section(name, SECTIONS[name])
        else:
            schema = RunConfig.model_json_schema()["properties"][name]
            yield Parameter(name, info.default, _allowed(schema), info.description or "", True)


def _section(section: str, model: type[StageConfig]) -> Iterator[Parameter]:
    properties = model.model_json_schema()["properties"]
    for name, info in model.model_fields.items():
        in_key = section != "execution" and enters_key(info)
        yield Parameter(f"{section}.{name}", info.default, _allowed(properties[name]), info.description or "", in_key)


def _allowed(schema: dict[str, Any]) -> str:
    if choices := schema.get("enum"):
        return ", ".join(map(str, choices))
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    bounds = [f"{words} {value:,}" for words, value in (("from", least), ("above", above)) if value is not None]
    bounds += [f"{words} {value:,}" for words, value in (("to", most), ("below", below)) if value is not None]
    return " ".join(bounds) or {"boolean": "true, false", "array": "list"}.get(schema.get("type", ""), "")
