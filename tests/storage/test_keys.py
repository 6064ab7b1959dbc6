"""Key documents: canonical, order-free, and the same on every machine."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import (
    JSON,
    KeyDocument,
    Recipe,
    canonical_json,
    digest_json,
    document_from_json,
    is_blessable,
    library_versions,
    recipe_differences,
)

RECIPE = Recipe(
    stage="track",
    schema=1,
    seed=7,
    parameters={"patch_px": 72, "min_ncc": 0.2, "name": "Süd"},
    variant={"estimator": "klt"},
    code={"tasks.track.video": "ab" * 8, "tasks.track.gates": "0f" * 8},
    libraries={"numpy": "2.3.0"},
)
DOCUMENT = KeyDocument(RECIPE, inputs={"video": "cd" * 32, "nothing": None})

json_values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_canonical_json_is_golden() -> None:
    value: JSON = {"b": [1, 2.5, None, True], "a": {"ü": "ß\n", "z": ""}}
    assert canonical_json(value) == '{"a":{"z":"","ü":"ß\\n"},"b":[1,2.5,null,true]}'.encode()


def test_a_key_is_golden() -> None:
    """A change here throws away every unit that a user has: raise a schema number instead."""
    assert DOCUMENT.key == "4f29691ec1ab12e068b85d35265e3f3d46076db0dca395e3deb4c42c6a16db4e"


@given(json_values)
def test_canonical_json_reads_back(value: JSON) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6), st.data())
def test_the_order_of_fields_says_nothing(value: dict[str, JSON], data: st.DataObject) -> None:
    items = data.draw(st.permutations(list(value.items())))
    assert digest_json(dict(items)) == digest_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_values_that_json_cannot_hold_are_refused(value: JSON) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stage": "shard"}, ["stage track → shard"]),
        ({"schema": 2}, ["schema 1 → 2"]),
        ({"seed": 8}, ["seed 7 → 8"]),
        ({"parameters": {"patch_px": 73, "min_ncc": 0.2, "name": "Süd"}}, ["patch_px 72 → 73"]),
        (
            {"parameters": {"patch_px": 72, "name": "Süd", "gap": None}},
            ["gap (none) → None", "min_ncc 0.2 → (none)"],
        ),
        ({"variant": {"estimator": "dis"}}, ["estimator klt → dis"]),
        (
            {"code": {"tasks.track.video": "ac" * 8, "tasks.track.boxes": "0f" * 8}},
            ["code: tasks/track/boxes.py (new)", "code: tasks/track/gates.py (gone)", "code: tasks/track/video.py"],
        ),
        ({"libraries": {"numpy": "2.3.1"}}, ["library: numpy 2.3.0 → 2.3.1"]),
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_changes_the_key_and_is_told(change: dict[str, Any], told: list[str]) -> None:
    changed = dataclasses.replace(RECIPE, **change)
    assert KeyDocument(changed, DOCUMENT.inputs).key != DOCUMENT.key
    assert recipe_differences(RECIPE.to_json(), changed.to_json()) == told
    assert is_blessable(RECIPE.to_json(), changed.to_json()) is (set(change) <= {"code", "libraries"})


def test_the_inputs_change_the_key() -> None:
    assert KeyDocument(RECIPE, {"video": "ce" * 32, "nothing": None}).key != DOCUMENT.key
    assert recipe_differences(RECIPE.to_json(), RECIPE.to_json()) == []


def test_the_json_of_a_document_has_its_key() -> None:
    """Whoever reads a manifest can check its key without this library."""
    written = json.loads(json.dumps(DOCUMENT.to_json()))
    assert digest_json({"inputs": written["inputs"], "recipe": digest_json(written["recipe"])}) == DOCUMENT.key
    assert document_from_json(written) == DOCUMENT


@pytest.mark.parametrize("value", [{}, {"recipe": 1, "inputs": {}}, {"recipe": {"stage": "x"}, "inputs": {}}])
def test_what_is_no_document_is_refused(value: dict[str, JSON]) -> None:
    with pytest.raises((KeyError, TypeError)):
        document_from_json(value)


def test_library_versions_are_those_installed_without_build_tags() -> None:
    versions = library_versions("numpy", "torch")
    assert versions["numpy"] == metadata.version("numpy")
    assert "+" not in versions["torch"]
    with pytest.raises(metadata.PackageNotFoundError):
        library_versions("no-such-distribution")
