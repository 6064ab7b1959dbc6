"""Manifests: the JSON record of a finished unit. Its presence is the commit; it is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from storage.keys import JSON, KeyDocument, Recipe, document_from_json
from storage.root import Root, RootError, StoreUnavailable, hash_file, leads_out
from storage.sealing import read_schema, seal, unseal

SCHEMA = 2

READ_BACK_BYTES = 1 << 20
"""Up to this size a remote file is read back after it was written: one request, as asking for its size would be."""


@dataclass(frozen=True)
class Accepted:
    """A user's word that another unit's output stands for this key: `differences` are what was waved through.

    `key`: of the unit whose files these are; `time`: ISO 8601, UTC.
    """

    key: str
    differences: tuple[str, ...]
    time: str


@dataclass(frozen=True)
class StoredFile:
    """One file of a unit: its path below the root, bytes and SHA-256 (hex). Raises ValueError for a path out of it."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if leads_out(self.path):
            raise ValueError(f"{self.path!r} leads out of the root")


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
    accepted: Accepted | None = None
    schema: int = SCHEMA

    @property
    def recipe(self) -> Recipe:
        """How the unit was made."""
        return document_from_json(self.document).recipe


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
    content). Each is verified before the manifest is written, RootError names one that is not as written:
    files of ours on local disk, and up to READ_BACK_BYTES anywhere, are read back and their digest compared;
    larger remote ones, and files stored already, by size (S3 compares the checksum that s3fs sends with an
    upload). The rest is for those who read: `read_file`, and fsck. Where another writer was first, its
    manifest is returned whole, never a mixture, and our files are left for `gc`.
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
        created=_now(),
    )
    while not root.create_bytes(manifest_path(document.stage, document.key), manifest_bytes(manifest)):
        standing = read_manifest(root, document.stage, document.key)
        if standing is not None:
            return standing  # otherwise it was removed in between (fsck), and ours may take its place
    return manifest


def accept(root: Root, document: KeyDocument, standing: Manifest, differences: Sequence[str]) -> Manifest:
    """Let a committed unit's output stand for another key: commits a manifest there that names its files.

    Returns the manifest that stands at the new key. Downstream keys go on using the standing unit's.
    """
    accepted = Accepted(standing.key, tuple(differences), _now())
    manifest = replace(standing, key=document.key, document=document.to_json(), accepted=accepted, created=_now())
    if root.create_bytes(manifest_path(document.stage, document.key), manifest_bytes(manifest)):
        return manifest
    return require_manifest(root, document.stage, document.key)


def read_manifest(root: Root, stage: str, key: str) -> Manifest | None:
    """The committed unit, or None. Raises RootError for a manifest of a newer schema, or a damaged one."""
    path = manifest_path(stage, key)
    try:
        record, schema = read_schema(root.read_bytes(path))
        if schema <= SCHEMA:
            record = unseal(record)
            record["files"] = {name: StoredFile(**entry) for name, entry in record["files"].items()}
            if accepted := record.get("accepted"):
                record["accepted"] = Accepted(accepted["key"], tuple(accepted["differences"]), accepted["time"])
            return Manifest(**record)
    except FileNotFoundError:
        return None
    except StoreUnavailable:  # a ValueError too, and no damage
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    raise RootError(f"root: {path} has schema {schema}, this Tritrack reads up to {SCHEMA}; update Tritrack")


def require_manifest(root: Root, stage: str, key: str) -> Manifest:
    """The committed unit; raises RootError where it is missing."""
    manifest = read_manifest(root, stage, key)
    if manifest is None:
        raise RootError(f"root: {root.url} holds no {stage} unit {key[:16]}; run the {stage} stage first")
    return manifest


def read_file(root: Root, file: StoredFile) -> bytes:
    """A unit's file, whole and verified; raises RootError naming a file that is missing or is not its digest's."""
    try:
        data = root.read_bytes(file.path)
    except FileNotFoundError as error:
        raise missing(file.path) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise damaged(file.path)
    return data


def missing(path: str) -> RootError:
    """What to raise where a stored file is not there."""
    return RootError(f"root: {path} is missing; run tritrack fsck --repair, then run again")


def damaged(path: str, how: str = "its bytes do not match its digest") -> RootError:
    """What to raise where a stored file is not what was stored."""
    return RootError(f"root: {path} is damaged ({how}); run tritrack fsck --repair, then run again")


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored: readable JSON, sealed."""
    return seal(asdict(manifest))


def manifest_path(stage: str, key: str) -> str:
    return f"{stage}/{key}/manifest.json"


def video_path(sha256: str) -> str:
    """Where a video lies: by content, with no name or extension from outside."""
    return f"videos/{sha256[:2]}/{sha256}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _store(root: Root, document: KeyDocument, name: str, content: bytes | Path | StoredFile) -> StoredFile:
    if isinstance(content, StoredFile):
        _verify(root, content, read_back=False)
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
    stored = StoredFile(path, size, sha256)
    _verify(root, stored, read_back=root.is_local or size <= READ_BACK_BYTES)
    return stored


def _verify(root: Root, file: StoredFile, read_back: bool) -> None:
    try:
        found = root.digest(file.path) if read_back else (file.sha256, root.size(file.path))
    except FileNotFoundError:
        found = ("nothing", 0)
    if found != (file.sha256, file.size):
        raise RootError(
            f"root: {file.path} is not stored as it was written ({found[1]} of {file.size} bytes, digest "
            f"{found[0][:16]} for {file.sha256[:16]}), so its unit is not committed; check the disk or store, then "
            "run again"
        )
