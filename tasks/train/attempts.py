"""Where the checkpoints of running attempts lie: `train/<key>/attempts/<id>/checkpoint-<step>-<sha16>.safetensors`."""

from __future__ import annotations

import hashlib
import re

from storage.root import Root

_NAME = re.compile(r"checkpoint-\d{9}-[0-9a-f]{16}\.safetensors")


def checkpoint_path(key: str, attempt: str, step: int, data: bytes) -> str:
    """The path below the root; its name carries the digest, so that a damaged file is noticed."""
    return f"{_folder(key)}/{attempt}/checkpoint-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"


def is_whole(path: str, data: bytes) -> bool:
    """Whether the bytes are those that the name was made from."""
    return path.endswith(f"-{hashlib.sha256(data).hexdigest()[:16]}.safetensors")


def checkpoint_paths(root: Root, key: str) -> list[str]:
    """The checkpoints of all attempts at a unit, the newest step first."""
    found = [
        (name, f"{_folder(key)}/{attempt}/{name}")
        for attempt in root.names(_folder(key))
        for name in root.names(f"{_folder(key)}/{attempt}")
        if _NAME.fullmatch(name)
    ]
    return [path for _, path in sorted(found, reverse=True)]


def remove_attempts(root: Root, key: str) -> None:
    """Delete all checkpoints of a unit, once it is committed."""
    for path in checkpoint_paths(root, key):
        root.remove(path)


def _folder(key: str) -> str:
    return f"train/{key}/attempts"
