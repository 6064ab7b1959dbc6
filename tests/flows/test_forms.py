"""Prefect's forms: flat, complete, generated from the configuration models, and validated."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from flows.forms import flatten, select, unflatten
from flows.pipeline import STAGES
from tasks.presets import PRESETS, RunConfig

FLOWS = (*STAGES, "pipeline", "refresh")


def _flow(name: str) -> Any:
    return getattr(importlib.import_module(f"flows.{name}"), name)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_flattening_loses_nothing(preset: str) -> None:
    config = PRESETS[preset]()
    assert unflatten(flatten(config)) == config


@pytest.mark.parametrize("name", FLOWS)
def test_every_field_of_a_form_is_flat_and_described(name: str) -> None:
    properties = _flow(name).parameters.properties
    assert {"root", "dataset"} <= set(properties)
    for field, schema in properties.items():
        assert schema.get("description"), f"{name}.{field} says nothing of itself"
        assert "$ref" not in schema, f"{name}.{field} is not flat"
        assert schema.get("type") in {"string", "integer", "number", "boolean", "array"}, f"{name}.{field}: {schema}"


def test_the_pipeline_form_covers_the_whole_configuration() -> None:
    assert set(flatten(RunConfig())) <= set(_flow("pipeline").parameters.properties)


def test_choices_and_bounds_reach_the_form() -> None:
    properties = _flow("track").parameters.properties
    assert "klt" in properties["track_estimator"]["enum"]
    assert properties["track_patch_px"]["minimum"] == 16


def test_a_value_out_of_bounds_is_refused_before_the_flow_runs() -> None:
    with pytest.raises(Exception, match="track_patch_px"):
        _flow("track").validate_parameters({"root": "x", "dataset": "d", "track_patch_px": 3})


def test_a_stage_gets_its_own_fields() -> None:
    fields = flatten(RunConfig())
    chosen = select(fields, "shard", "seed")
    assert "seed" in chosen
    assert all(name == "seed" or name.startswith("shard_") for name in chosen)
