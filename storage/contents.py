"""All that a stage holds below a root: its files as listed, and its manifests read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from storage.concurrency import in_threads
from storage.keys import document_from_json
from storage.layout import place_of
from storage.manifests import SCHEMA, Manifest, StoredFile, manifest_path, read_manifest
from storage.root import Root, RootError, StoreUnavailable
from storage.sealing import schema_number
from storage.walking import Entry

Progress = Callable[[int, int, str], None]
"""Told how far long work is: done, total, and what is being done."""

NOT_STAGES = frozenset({"videos", "datasets", "state"})


def no_progress(done: int, total: int, note: str) -> None:
    """The progress of those who do not ask."""


@dataclass(frozen=True)
class UnreadableManifest:
    """A manifest that gives no unit: damaged, or of a newer Tritrack."""

    kind: Literal["damaged_manifest", "newer_manifest"]
    words: str


@dataclass(frozen=True)
class StageContents:
    """A stage's files, in no order, and its manifests by key."""

    stage: str
    entries: tuple[Entry, ...]
    manifests: Mapping[str, Manifest]
    unreadable: Mapping[str, UnreadableManifest]


def stage_names(root: Root) -> list[str]:
    """Top folders that may hold units."""
    return [name for name in root.names("") if name not in NOT_STAGES]


def read_stage(root: Root, stage: str, progress: Progress = no_progress) -> StageContents:
    """List a stage, and read all its manifests. Raises RootError where the store cannot be read."""
    entries = tuple(root.walk(stage))
    keys = [place.key for entry in entries if (place := place_of(entry.path)).kind == "manifest"]
    manifests: dict[str, Manifest] = {}
    unreadable: dict[str, UnreadableManifest] = {}
    for done, (key, found) in enumerate(in_threads(lambda key: (key, examine_manifest(root, stage, key)), keys), 1):
        if isinstance(found, Manifest):
            manifests[key] = found
        elif found is not None:
            unreadable[key] = found
        progress(done, len(keys), f"{stage} manifests")
    return StageContents(stage, entries, manifests, unreadable)


def examine_manifest(root: Root, stage: str, key: str) -> Manifest | UnreadableManifest | None:
    """A unit's manifest, checked against where it lies and against its own key; None where there is none."""
    try:
        manifest = read_manifest(root, stage, key)
    except StoreUnavailable:
        raise
    except RootError as error:
        return _unreadable(root, manifest_path(stage, key), str(error))
    if manifest is None:
        return None
    if (manifest.stage, manifest.key) != (stage, key):
        return UnreadableManifest("damaged_manifest", f"it is of the {manifest.stage} unit {manifest.key[:16]}")
    try:
        if manifest.schema == SCHEMA and document_from_json(manifest.document).key != key:
            return UnreadableManifest("damaged_manifest", "its key document does not give its key")
    except (TypeError, KeyError) as error:
        return UnreadableManifest("damaged_manifest", f"its key document cannot be read ({error})")
    return manifest


def examine_file(
    root: Root, file: StoredFile, *, quick: bool, listed_bytes: int | None = None
) -> tuple[Literal["missing", "truncated", "grown", "flipped"], str] | None:
    """What is wrong with a stored file, and in words; None where nothing is.

    `listed_bytes`: its size in a listing, where it is in one. A size that does not fit is asked for again.
    `quick`: the size alone.
    """
    try:
        size = listed_bytes if listed_bytes == file.size else root.size(file.path)
        if size != file.size:
            words = f"it has {size} bytes, {file.size} were stored"
            return ("truncated" if size < file.size else "grown"), words
        if not quick and root.digest(file.path)[0] != file.sha256:
            return "flipped", "its bytes do not match its digest"
    except FileNotFoundError:
        return "missing", f"it is not there, {file.size} bytes were stored"
    return None


def _unreadable(root: Root, path: str, words: str) -> UnreadableManifest | None:
    try:
        data = root.read_bytes(path)
    except FileNotFoundError:
        return None
    return UnreadableManifest("newer_manifest" if schema_number(data) > SCHEMA else "damaged_manifest", words)
