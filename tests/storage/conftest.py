"""Every kind of root that the storage contract is tested over."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.root import Root, open_root

_memory_roots = itertools.count(1)


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """An empty root: a local folder, memory:// or a bucket of the S3 server."""
    if request.param == "local":
        return open_root(str(tmp_path / "root"))
    if request.param == "memory":
        return open_root(f"memory://root-{next(_memory_roots)}")
    return open_root(request.getfixturevalue("s3_root_url")())


@pytest.fixture
def s3_root(s3_root_url: Callable[[], str]) -> Root:
    """An empty root on the S3 server."""
    return open_root(s3_root_url())
