"""Manifests: the JSON record of a finished unit. Its presence is the commit; it is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from storage.keys import JSON, KeyDocument
from storage.root import Root, RootError, hash_file

SCHEMA = 1


@dataclass(frozen=True)
class StoredFile:
    """One file of a unit: its path below the root, bytes and SHA-256 (hex)."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A committed unit.

    `files` maps what a file is ("tracks.parquet") to where it lies; `counts` holds whole numbers that add
    up over units (rejections by reason, pairs); `facts` small JSON that later stages need (a video's
    digest, its signature); `seconds` and `device` say what the work cost and where it ran.
    """

    stage: str
    key: str
    document: Mapping[str, JSON]
    files: Mapping[str, StoredFile]
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = "cpu"
    created: str = ""
    schema: int = SCHEMA


def commit(
    root: Root,
    document: KeyDocument,
    files: Mapping[str, bytes | Path | StoredFile],
    *,
    counts: Mapping[str, int] | None = None,
    facts: Mapping[str, JSON] | None = None,
    seconds: float = 0.0,
    device: str = "cpu",
) -> Manifest:
    """Store a unit's files under their own digests, then its manifest; return the manifest that stands.

    `files` maps a name "noun.ext" to bytes, to a local file, or to a file stored already (a video, by
    content). Where another writer was first, its manifest is returned and our files are left for `gc`.
    """
    stored = {name: _store(root, document, name, content) for name, content in files.items()}
    manifest = Manifest(
        stage=document.stage,
        key=document.key,
        document=document.to_json(),
        files=stored,
        counts=dict(counts or {}),
        facts=dict(facts or {}),
        seconds=round(seconds, 3),
        device=device,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    data = json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode()
    if root.create_bytes(manifest_path(document.stage, document.key), data):
        return manifest
    standing = read_manifest(root, document.stage, document.key)
    assert standing is not None, "a manifest that exists can be read"
    return standing


def read_manifest(root: Root, stage: str, key: str) -> Manifest | None:
    """The committed unit, or None. Raises RootError for a manifest of a newer schema, or a damaged one."""
    path = manifest_path(stage, key)
    try:
        record = json.loads(root.read_bytes(path))
        schema = int(record["schema"])
        if schema <= SCHEMA:
            record["files"] = {name: StoredFile(**entry) for name, entry in record["files"].items()}
            return Manifest(**record)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RootError(
            f"root: {path} is damaged ({type(error).__name__}: {error}); delete it and run again"
        ) from error
    raise RootError(f"root: {path} has schema {schema}, this Tritrack reads up to {SCHEMA}; update Tritrack")


def require_manifest(root: Root, stage: str, key: str) -> Manifest:
    """The committed unit; raises RootError where it is missing."""
    manifest = read_manifest(root, stage, key)
    if manifest is None:
        raise RootError(f"root: {root.url} holds no {stage} unit {key[:16]}; run the {stage} stage first")
    return manifest


def read_file(root: Root, file: StoredFile) -> bytes:
    """A unit's file, whole and verified; raises RootError naming the file where its bytes are not its digest's."""
    data = root.read_bytes(file.path)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise RootError(
            f"root: {file.path} is damaged (its bytes do not match its digest); delete its unit and run again"
        )
    return data


def manifest_path(stage: str, key: str) -> str:
    return f"{stage}/{key}/manifest.json"


def video_path(sha256: str) -> str:
    """Where a video lies: by content, with no name or extension from outside."""
    return f"videos/{sha256[:2]}/{sha256}"


def _store(root: Root, document: KeyDocument, name: str, content: bytes | Path | StoredFile) -> StoredFile:
    if isinstance(content, StoredFile):
        return content
    if isinstance(content, Path):
        sha256, size = hash_file(content)
    else:
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
    noun, extension = name.rsplit(".", 1)
    path = f"{document.stage}/{document.key}/{noun}-{sha256[:16]}.{extension}"
    if isinstance(content, Path):
        root.upload(content, path)
    else:
        root.write_bytes(path, content)
    return StoredFile(path, size, sha256)
