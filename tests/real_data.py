"""Where the real data lies that tests and benches read; none of it is in the repository."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def real_data() -> Path:
    """The folder that `TRITRACK_DATA` names, else ../shared/data beside the project; it may not be there."""
    return Path(os.environ.get("TRITRACK_DATA", PROJECT.parent / "shared" / "data"))
