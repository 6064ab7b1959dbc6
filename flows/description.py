"""What a run is described by: a TOML file, a preset's name, and overrides. Every error is one line."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from storage.root import RootError
from storage.versions import version_path
from tasks.configuration import StageConfig
from tasks.download.redaction import redact
from tasks.presets import PRESETS, RunConfig

_HEAD = ("root", "dataset", "sources", "preset")
# What to give instead of a URL with a secret in it: these are parameters of flow runs, which Prefect keeps and shows.
_REMEDIES = {
    "root": "give the secret in the environment or in fsspec's configuration",
    "sources": "put the URL into a list, which only the download reads",
    "only": "give the first digits of the source's id",
}


@dataclass(frozen=True)
class Description:
    """One run: where, on which data set, from what, and how."""

    root: str
    dataset: str
    sources: str
    config: RunConfig


def describe_run(
    file: Path | None = None,
    *,
    root: str | None = None,
    dataset: str | None = None,
    sources: str | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> Description:
    """Merge, from weakest to strongest: the preset, the TOML file, the arguments and `section.field=value` overrides.

    Raises ValueError, in one line that names the field, the value and the choices.
    """
    document = _read_toml(file) if file else {}
    head = {name: document.pop(name, None) for name in _HEAD}
    given = {"root": root or head["root"] or os.environ.get("TRITRACK_ROOT"), "dataset": dataset or head["dataset"]}
    if not given["root"]:
        raise ValueError(
            "root: missing; give --root DIR or s3://bucket/prefix, `root` in the TOML file, or TRITRACK_ROOT"
        )
    name = given["dataset"] or "default"
    try:
        version_path(name, 0)
    except RootError as error:
        raise ValueError(str(error)) from error
    config = _configure(preset or head["preset"] or "sample", document, overrides)
    wanted = sources or _relative_to(file, head["sources"]) or ""
    refuse_secret("root", str(given["root"]))
    refuse_secret("sources", wanted)
    return Description(_absolute(str(given["root"])), name, _absolute(wanted), config)


def refuse_secret(name: str, text: str) -> None:
    """Raise ValueError, in one line without the secret, where a URL holds a password, a token or a signature."""
    if "://" in text and (shown := redact(text)) != text:
        raise ValueError(f"{name}: {shown!r} holds a secret, which Prefect would keep and show; {_REMEDIES[name]}")


def explain_error(error: ValidationError, model: type[StageConfig] = RunConfig) -> str:
    """A validation error's first complaint in one line: field, value, and the choices or bounds."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    field, value = ".".join(path), first["input"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown field; choose one of {', '.join(_known_fields(model, path[:-1]))}{more}"
    if first["type"] == "literal_error":
        choices = first.get("ctx", {})["expected"].replace("'", "").replace(" or ", ", ")
        return f"{field}: {value!r} is unknown; choose one of {choices}{more}"
    said = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if not field or (first["type"] == "value_error" and isinstance(value, Mapping)):  # of a section: it names its field
        return f"{said}{more}"
    return f"{field}: {value!r} {said}{more}"


def _configure(preset: str, document: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    if preset not in PRESETS:
        raise ValueError(f"preset: {preset!r} is unknown; choose one of {', '.join(sorted(PRESETS))}")
    merged = _merge(PRESETS[preset]().model_dump(), document)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"--set: {override!r} is no assignment; write section.field=value")
        inner: Any = _parse_value(text)
        for part in reversed(path.strip().split(".")):
            inner = {part: inner}
        merged = _merge(merged, inner)
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise ValueError(explain_error(error)) from error


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        inner = merged.get(name)
        merged[name] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _parse_value(text: str) -> Any:
    """A TOML value where it is one (3, 0.5, true, ["a"]), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"config: {str(file)!r} cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {str(file)!r} is no TOML ({error})") from error


def _known_fields(model: type[StageConfig], path: Sequence[str]) -> list[str]:
    for part in path:
        model = cast(type[StageConfig], model.model_fields[part].annotation)
    return [*model.model_fields, *(_HEAD if model is RunConfig else ())]


def _relative_to(file: Path | None, path: str | None) -> str | None:
    """A path in a TOML file is relative to that file."""
    if not path or file is None or "://" in path or ":" in path.split("/")[0]:
        return path
    return str(file.parent / path)


def _absolute(place: str) -> str:
    """A local path made absolute, so that a run started elsewhere (a worker) finds it; a URL as it is."""
    return (
        place if not place or "://" in place or ":" in place.split("/")[0] else str(Path(place).expanduser().resolve())
    )
