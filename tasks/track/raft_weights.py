"""Where RAFT's weights lie: a setting of this machine. What they are enters the key, by their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

WEIGHTS_VARIABLE = "TRITRACK_RAFT_WEIGHTS"
WEIGHTS_URL = "https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth"
"""torchvision's weights of the small network, trained on FlyingChairs and FlyingThings3D: 990,162 parameters."""


def weights_path(environment: Mapping[str, str] | None = None) -> Path:
    """The weights file that TRITRACK_RAFT_WEIGHTS names; raises ValueError with the remedy where there is none."""
    given = (os.environ if environment is None else environment).get(WEIGHTS_VARIABLE, "").strip()
    if not given:
        raise ValueError(f"raft: no weights; download {WEIGHTS_URL} and set {WEIGHTS_VARIABLE} to the file's path")
    path = Path(given).expanduser()
    if not path.is_file():
        raise ValueError(f"raft: {WEIGHTS_VARIABLE} names {str(path)!r}, which is no file; download {WEIGHTS_URL}")
    return path


def weights_digest(environment: Mapping[str, str] | None = None) -> str:
    """SHA-256 (hex) of the weights file; raises ValueError as `weights_path` does."""
    with weights_path(environment).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
