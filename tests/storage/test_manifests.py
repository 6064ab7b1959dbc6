"""Commits: the first writer stands, and what was tampered with is named."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.keys import KeyDocument
from storage.manifests import (
    SCHEMA,
    StoredFile,
    commit,
    manifest_path,
    read_file,
    read_manifest,
    require_manifest,
    video_path,
)
from storage.root import Root, RootError

DOCUMENT = KeyDocument(stage="track", schema=1, parameters={"patch_px": 72}, inputs={"video": "ab"})


def test_a_commit_reads_back(root: Root, tmp_path: Path) -> None:
    local = tmp_path / "tracks.parquet"
    local.write_bytes(b"from a file")
    video = StoredFile(video_path("ab" * 32), 5, "ab" * 32)
    files = {"index.json": b"from bytes", "tracks.parquet": local, "video.bin": video}
    committed = commit(
        root, DOCUMENT, files, counts={"tracks": 3}, facts={"signature": ["0f"], "fps": 25.0}, seconds=1.23456
    )
    manifest = read_manifest(root, "track", DOCUMENT.key)
    assert manifest == committed
    assert (manifest.counts, manifest.facts) == ({"tracks": 3}, {"signature": ["0f"], "fps": 25.0})
    assert (manifest.seconds, manifest.device, manifest.schema) == (1.235, "cpu", SCHEMA)
    assert manifest.document == DOCUMENT.to_json()
    assert manifest.files["video.bin"] == video
    assert read_file(root, manifest.files["index.json"]) == b"from bytes"
    assert read_file(root, manifest.files["tracks.parquet"]) == b"from a file"
    digest = hashlib.sha256(b"from a file").hexdigest()
    assert manifest.files["tracks.parquet"].path == f"track/{DOCUMENT.key}/tracks-{digest[:16]}.parquet"


def test_no_manifest_is_none_and_a_required_one_is_named(root: Root) -> None:
    assert read_manifest(root, "track", DOCUMENT.key) is None
    with pytest.raises(RootError, match="run the track stage first"):
        require_manifest(root, "track", DOCUMENT.key)


def test_the_first_of_two_commits_stands(root: Root) -> None:
    first = commit(root, DOCUMENT, {"tracks.bin": b"first"}, counts={"tracks": 1})
    second = commit(root, DOCUMENT, {"tracks.bin": b"second"}, counts={"tracks": 2})
    assert second == first == read_manifest(root, "track", DOCUMENT.key)
    assert read_file(root, second.files["tracks.bin"]) == b"first"


def test_racing_commits_with_different_bytes_are_never_mixed(root: Root) -> None:
    start = threading.Barrier(6)

    def race(racer: int) -> bytes:
        start.wait()
        files = {name: f"{name} of {racer}".encode() for name in ("a.bin", "b.bin")}
        manifest = commit(root, DOCUMENT, files, facts={"racer": racer})
        return b"|".join([str(manifest.facts["racer"]).encode(), *(read_file(root, manifest.files[n]) for n in files)])

    with ThreadPoolExecutor(6) as pool:
        seen = set(pool.map(race, range(6)))
    assert len(seen) == 1
    racer, first, second = seen.pop().split(b"|")
    assert (first, second) == (b"a.bin of " + racer, b"b.bin of " + racer)


def test_a_newer_schema_is_refused(root: Root) -> None:
    commit(root, DOCUMENT, {})
    path = manifest_path("track", DOCUMENT.key)
    record = json.loads(root.read_bytes(path)) | {"schema": SCHEMA + 1, "unheard_of": True}
    root.write_bytes(path, json.dumps(record).encode())
    with pytest.raises(RootError, match=f"has schema {SCHEMA + 1}.*update Tritrack"):
        read_manifest(root, "track", DOCUMENT.key)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"schema": 1}', b'{"schema": "x"}', b"\xff\xfe"])
def test_a_damaged_manifest_is_named(root: Root, data: bytes) -> None:
    path = manifest_path("track", DOCUMENT.key)
    root.write_bytes(path, data)
    with pytest.raises(RootError, match="is damaged") as caught:
        read_manifest(root, "track", DOCUMENT.key)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_or_a_cut_file_is_named(root: Root) -> None:
    data = random.Random(0).randbytes(1000)
    file = commit(root, DOCUMENT, {"tracks.bin": data}).files["tracks.bin"]
    flipped = bytes([data[0] ^ 1]) + data[1:]
    for damaged in (flipped, data[:-1], b""):
        root.write_bytes(file.path, damaged)
        with pytest.raises(RootError, match="is damaged") as caught:
            read_file(root, file)
        assert file.path in str(caught.value)
