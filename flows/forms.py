"""Prefect's parameter forms, generated from the configuration models: flat fields named <section>_<field>."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field
from pydantic.fields import FieldInfo

from tasks.configuration import StageConfig
from tasks.presets import RunConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def form(*sections: str) -> Callable[[Function], Function]:
    """Give a flow function a flat, typed parameter for every field of the named sections of RunConfig.

    The function takes its own parameters and `**fields`; Prefect reads the signature that is set here, so
    that its form shows each field with its description, bounds and choices, and validates it before a run.
    """

    def decorate(function: Function) -> Function:
        own = inspect.signature(function, eval_str=True).parameters.values()
        leading = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        signature = inspect.Signature([*leading, *_parameters(sections)])
        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__doc__ = _with_arguments(inspect.getdoc(function) or "", signature)
        return function

    return decorate


def flatten(config: RunConfig) -> dict[str, Any]:
    """Every field of a configuration under its form name, as JSON."""
    flat: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{name}_{field}": inner for field, inner in value.items()}
        else:
            flat[name] = value
    return flat


def unflatten(fields: Mapping[str, Any]) -> RunConfig:
    """The configuration behind form fields; what is not named keeps its default."""
    sections: dict[str, Any] = {}
    for name, value in fields.items():
        section, _, field = name.partition("_")
        if section in SECTIONS:
            sections.setdefault(section, {})[field] = value
        else:
            sections[name] = value
    return RunConfig.model_validate(sections)


def select(fields: Mapping[str, Any], *sections: str) -> dict[str, Any]:
    """The form fields of the named sections."""
    names = {parameter.name for parameter in _parameters(sections)}
    return {name: value for name, value in fields.items() if name in names}


def _section_models() -> dict[str, type[StageConfig]]:
    annotations = {name: info.annotation for name, info in RunConfig.model_fields.items()}
    return {
        name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, StageConfig)
    }


SECTIONS = _section_models()


def _parameters(sections: tuple[str, ...]) -> list[inspect.Parameter]:
    parameters = []
    for section in sections:
        if section in SECTIONS:
            fields = SECTIONS[section].model_fields
            parameters += [_parameter(f"{section}_{name}", info) for name, info in fields.items()]
        else:
            parameters.append(_parameter(section, RunConfig.model_fields[section]))
    return parameters


def _with_arguments(docstring: str, signature: inspect.Signature) -> str:
    """The docstring with an `Args:` section, from which Prefect takes what its form says of each field."""
    lines = [f"    {name}: {_description(parameter)}" for name, parameter in signature.parameters.items()]
    return "\n".join([docstring, "", "Args:", *lines])


def _description(parameter: inspect.Parameter) -> str:
    described = (getattr(info, "description", None) for info in get_args(parameter.annotation)[1:])
    return next(filter(None, described), "")


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    annotation = Annotated[(info.annotation, *info.metadata, Field(description=info.description))]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info.default, annotation=annotation)
