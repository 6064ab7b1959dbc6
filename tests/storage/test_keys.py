"""Key documents: canonical, order-free, and the same on every machine."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import JSON, KeyDocument, canonical_json, digest_json, library_versions

DOCUMENT = KeyDocument(
    stage="track",
    schema=1,
    seed=7,
    parameters={"patch_px": 72, "min_ncc": 0.2, "name": "Süd"},
    variant={"estimator": "klt"},
    code="ab" * 32,
    libraries={"numpy": "2.3.0"},
    inputs={"video": "cd" * 32, "nothing": None},
)

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
    assert DOCUMENT.key == "efd09edb6412f15b194e903504510e093849c2f76a0cf551a4ec7bb163f4647b"


@given(json_values)
def test_canonical_json_reads_back(value: JSON) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6), st.randoms())
def test_the_order_of_fields_says_nothing(value: dict[str, JSON], random: st.DataObject) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert digest_json(dict(items)) == digest_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_values_that_json_cannot_hold_are_refused(value: JSON) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "shard"},
        {"schema": 2},
        {"seed": 8},
        {"parameters": {"patch_px": 73, "min_ncc": 0.2, "name": "Süd"}},
        {"variant": {"estimator": "dis"}},
        {"code": "ac" * 32},
        {"libraries": {"numpy": "2.3.1"}},
        {"inputs": {"video": "ce" * 32, "nothing": None}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_changes_the_key(change: dict[str, object]) -> None:
    assert dataclasses.replace(DOCUMENT, **change).key != DOCUMENT.key  # type: ignore[arg-type]


def test_the_json_of_a_document_has_its_key() -> None:
    assert digest_json(json.loads(json.dumps(DOCUMENT.to_json()))) == DOCUMENT.key


def test_library_versions_are_those_installed_without_build_tags() -> None:
    versions = library_versions("numpy", "torch")
    assert versions["numpy"] == metadata.version("numpy")
    assert "+" not in versions["torch"]
    with pytest.raises(metadata.PackageNotFoundError):
        library_versions("no-such-distribution")
