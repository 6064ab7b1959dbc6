"""What tests share: where the real data lies, and roots to write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (`TRITRACK_DATA`, or ../shared/data); the test is skipped where it is absent."""
    folder = Path(os.environ.get("TRITRACK_DATA", _PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TRITRACK_DATA")
    return folder
