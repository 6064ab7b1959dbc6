"""Where the checkpoints of running attempts lie: `train/<key>/attempts/<id>/checkpoint-<step>-<sha16>.safetensors`."""

from __future__ import annotations

import hashlib
import json
import re

from storage.keys import KeyDocument
from storage.layout import attempts_document_path, attempts_folder
from storage.root import Root

_NAME = re.compile(r"checkpoint-\d{9}-[0-9a-f]{16}\.safetensors")


def checkpoint_path(key: str, attempt: str, step: int, data: bytes) -> str:
    """The path below the root; its name carries the digest, so that a damaged file is noticed."""
    folder = attempts_folder("train", key)
    return f"{folder}/{attempt}/checkpoint-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"


def is_whole(path: str, data: bytes) -> bool:
    """Whether the bytes are those that the name was made from."""
    return path.endswith(f"-{hashlib.sha256(data).hexdigest()[:16]}.safetensors")


def checkpoint_paths(root: Root, key: str) -> list[str]:
    """The checkpoints of all attempts at a unit, the newest step first."""
    folder = attempts_folder("train", key)
    found = [
        (name, f"{folder}/{attempt}/{name}")
        for attempt in root.names(folder)
        for name in root.names(f"{folder}/{attempt}")
        if _NAME.fullmatch(name)
    ]
    return [path for _, path in sorted(found, reverse=True)]


def keep_document(root: Root, document: KeyDocument) -> None:
    """Write what the attempts are at, so that `gc` can tell whether a run may still go on from their checkpoints."""
    path = attempts_document_path("train", document.key)
    root.write_bytes(path, json.dumps(document.to_json(), indent=1).encode())


def remove_attempts(root: Root, key: str) -> None:
    """Delete all checkpoints of a unit, once it is committed."""
    root.remove_many([*checkpoint_paths(root, key), attempts_document_path("train", key)])
