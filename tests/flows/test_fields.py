"""The table of parameters: all of them, with what they may be."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.fields import parameters_of
from flows.forms import flatten
from tasks.presets import RunConfig


def test_every_field_is_there_once_and_says_what_it_does() -> None:
    found = {one.name: one for one in parameters_of()}
    assert {name.replace(".", "_", 1) for name in found} == set(flatten(RunConfig()))
    assert all(one.description for one in found.values())
    assert found["track.estimator"].allowed.startswith("auto, klt, torch")
    assert found["track.patch_px"].allowed == "from 16 to 1,024"
    assert not found["execution.workers"].in_key
    assert found["train.steps"].in_key


def test_a_section_alone_as_a_table_and_as_json() -> None:
    told = CliRunner().invoke(app, ["parameters", "shard"])
    assert "shard.patch_px" in told.output
    assert "track." not in told.output
    rows = json.loads(CliRunner().invoke(app, ["parameters", "shard", "--json"]).output)
    assert {row["name"].split(".")[0] for row in rows} == {"shard"}


def test_an_unknown_section_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^parameters: 'fly' is unknown; choose one of seed, download, track"):
        parameters_of("fly")
