"""What a node of a cluster must have before it takes units: the same code and libraries, and a sight of the files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from flows.code import code_digest
from storage.keys import library_versions
from tasks.pool import Call

_LIBRARIES = ("av", "numpy", "opencv-contrib-python-headless", "torch")  # those whose versions are part of keys


def alike(seen: Sequence[str]) -> Call:
    """The call that refuses a node unlike this machine, or one that does not see these local paths."""
    return Call("flows.node:require_alike", (_versions(), tuple(seen)))


def require_alike(versions: Mapping[str, str], seen: Sequence[str]) -> None:
    """Refuse to work here, in one line, for a machine that has other versions: what is made here would be committed
    under keys that tell of those. Raises ValueError."""
    if others := [name for name, version in _versions().items() if version != versions[name]]:
        raise ValueError(
            f"it has another {', '.join(others)} than the machine where the run was started; take one image for all"
        )
    if hidden := [path for path in seen if not os.path.exists(path)]:
        raise ValueError(
            f"it does not see {hidden[0]}, a path of the machine where the run was started; take an object store, a "
            "folder that is mounted on all nodes, or execution.runner=local"
        )


def _versions() -> dict[str, str]:
    return {"Tritrack": code_digest(), **library_versions(*_LIBRARIES)}
