"""Download keys: the source and what is fetched, and nothing about how."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.keys import canonical_json
from tasks.download.config import DownloadConfig
from tasks.download.key import key_document
from tasks.download.sources import source_at

URL = source_at("https://example.com/watch?v=1")

IN_KEY = {"max_height_px": 720, "format": "best"}
OUTSIDE = {
    "max_bytes": 5,
    "budget_bytes": 9,
    "min_free_bytes": 7,
    "timeout_seconds": 1.0,
    "retries": 9,
    "allow_hosts": ("localhost",),
    "min_seconds": 2.0,
    "max_seconds": 60.0,
    "min_height_px": 200,
    "licences": ("creative commons",),
    "max_age_limit": 12,
    "max_pixels": 1000,
    "max_listed": 5,
    "connections": 1,
    "per_host_connections": 1,
    "per_host_hour": 10,
    "pause_seconds": 1.0,
    "max_wait_seconds": 1.0,
    "max_fetch_seconds": 9.0,
    "max_attempts": 1,
    "retry": "all",
    "scratch_bytes": 0,
    "max_tool_age_days": 0,
    "allow_stores": ("s3://bucket",),
    "keep_removed": True,
    "min_kept_share": 0.5,
}  # fmt: skip


def key(source: object = URL, **changes: object) -> str:
    return key_document(DownloadConfig(**changes), source).key  # type: ignore[arg-type]


def test_every_parameter_is_known_to_this_test() -> None:
    assert set(DownloadConfig.model_fields) == IN_KEY.keys() | OUTSIDE.keys()


@pytest.mark.parametrize("name", IN_KEY)
def test_what_is_fetched_changes_the_key(name: str) -> None:
    assert key(**{name: IN_KEY[name]}) != key()


@pytest.mark.parametrize("name", OUTSIDE)
def test_how_it_is_fetched_does_not(name: str) -> None:
    assert key(**{name: OUTSIDE[name]}) == key()  # type: ignore[literal-required]


def test_the_document_names_neither_code_nor_tools_nor_seed() -> None:
    document = key_document(DownloadConfig(), URL)
    recipe = document.recipe
    assert (recipe.code, recipe.libraries, recipe.seed, recipe.variant) == ({}, {}, 0, {})
    assert document.inputs == {"source": URL.id, "location": URL.location}


def test_secrets_stay_out_of_the_document_but_tell_sources_apart() -> None:
    one, two = (source_at(f"https://u:{word}@example.com/?token={word}") for word in ("hunter1", "hunter2"))
    assert b"hunter" not in canonical_json(key_document(DownloadConfig(), one).to_json())
    assert key(one) != key(two)


def test_a_local_file_is_known_by_path_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    source = source_at(str(path))
    missing = key(source)
    path.write_bytes(b"12345")
    os.utime(path, ns=(10**18, 10**18))
    first = key(source)
    os.utime(path, ns=(10**18, 10**18 + 1))
    touched = key(source)
    path.write_bytes(b"123456")
    os.utime(path, ns=(10**18, 10**18))
    grown = key(source)
    path.write_bytes(b"12345")
    os.utime(path, ns=(10**18, 10**18))
    assert len({missing, first, touched, grown}) == 4
    assert key(source) == first
    assert key(source, max_height_px=720) == first  # a file is taken as it is
