"""Commits: the first writer stands, and what was tampered with is named."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import (
    READ_BACK_BYTES,
    SCHEMA,
    StoredFile,
    commit,
    manifest_bytes,
    manifest_path,
    read_file,
    read_manifest,
    require_manifest,
    video_path,
)
from storage.root import Root, RootError
from storage.sealing import seal, unseal

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = KeyDocument(Recipe("track", 1, parameters={"patch_px": 72}), inputs={"video": "ab"})


def test_a_commit_reads_back(root: Root, tmp_path: Path) -> None:
    local = tmp_path / "tracks.parquet"
    local.write_bytes(b"from a file")
    video = StoredFile(video_path("ab" * 32), 5, "ab" * 32)
    root.write_bytes(video.path, b"video")
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


def test_a_manifest_that_names_a_file_beside_the_root_is_damaged(root: Root) -> None:
    """Even under a right seal, which anybody can compute."""
    path = manifest_path("track", DOCUMENT.key)
    record = unseal(json.loads(manifest_bytes(commit(root, DOCUMENT, {"tracks.bin": b"x"}))))
    record["files"]["tracks.bin"]["path"] = "../../beside"
    root.write_bytes(path, seal(record))
    with pytest.raises(RootError, match=r"is damaged .*leads out of the root"):
        read_manifest(root, "track", DOCUMENT.key)


def test_a_flipped_bit_or_a_cut_file_is_named(root: Root) -> None:
    data = random.Random(0).randbytes(1000)
    file = commit(root, DOCUMENT, {"tracks.bin": data}).files["tracks.bin"]
    flipped = bytes([data[0] ^ 1]) + data[1:]
    for damaged in (flipped, data[:-1], b""):
        root.write_bytes(file.path, damaged)
        with pytest.raises(RootError, match="is damaged") as caught:
            read_file(root, file)
        assert file.path in str(caught.value)


RACE = """
import sys
from storage.keys import KeyDocument, Recipe
from storage.manifests import commit
from storage.root import open_root

root, racer = open_root(sys.argv[1]), sys.argv[2]
document = KeyDocument(Recipe("track", 1, parameters={"patch_px": 72}), inputs={"video": "ab"})
print("ready", flush=True)
sys.stdin.readline()
files = {name: f"{name} of {racer}".encode() * 1000 for name in ("a.bin", "b.bin")}
print(commit(root, document, files, facts={"racer": racer}).facts["racer"])
"""


@pytest.mark.parametrize("root", ["local", "s3"], indirect=True)
def test_racing_processes_with_different_bytes_are_never_mixed(root: Root) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, root.url, str(racer)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )
        for racer in range(4)
    ]  # fmt: skip
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        seen = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert [racer.returncode for racer in racers] == [0] * 4
    _assert_whole(root, seen, num_racers=4)


def test_racing_threads_with_different_bytes_are_never_mixed(root: Root) -> None:
    start = threading.Barrier(12)

    def race(racer: int) -> str:
        start.wait()
        files = {name: f"{name} of {racer}".encode() * 1000 for name in ("a.bin", "b.bin")}
        return str(commit(root, DOCUMENT, files, facts={"racer": str(racer)}).facts["racer"])

    with ThreadPoolExecutor(12) as pool:
        seen = set(pool.map(race, range(12)))
    _assert_whole(root, seen, num_racers=12)


def _assert_whole(root: Root, seen: set[str], num_racers: int) -> None:
    """Every racer was given the one manifest, which names its writer's files only; the others' lie beside it."""
    manifest = require_manifest(root, "track", DOCUMENT.key)
    assert seen == {manifest.facts["racer"]}
    for name, file in manifest.files.items():
        assert read_file(root, file) == f"{name} of {manifest.facts['racer']}".encode() * 1000
    left = [entry.path for entry in root.walk(f"track/{DOCUMENT.key}") if not entry.path.endswith("manifest.json")]
    assert len(left) == 2 * num_racers
    assert {file.path for file in manifest.files.values()} < set(left)


@pytest.mark.parametrize("wrong", ["cut", "flipped", "lost"])
@pytest.mark.parametrize("as_path", [False, True])
def test_a_file_that_is_not_stored_as_written_is_not_committed(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, as_path: bool
) -> None:
    data = random.Random(0).randbytes(1000)
    store = root.write_bytes

    def store_wrongly(path: str, content: bytes) -> None:
        if path.endswith("manifest.json") or "good" in path:
            store(path, content)
        elif wrong != "lost":
            store(path, content[:-1] if wrong == "cut" else bytes([content[0] ^ 1]) + content[1:])

    monkeypatch.setattr(Root, "write_bytes", lambda self, path, content: store_wrongly(path, content))
    monkeypatch.setattr(Root, "upload", lambda self, source, path: store_wrongly(path, source.read_bytes()))
    (tmp_path / "tracks.bin").write_bytes(data)
    files = {"good.bin": data, "tracks.bin": tmp_path / "tracks.bin" if as_path else data}
    with pytest.raises(RootError, match=r"^root: track/.*/tracks-.*\.bin is not stored as it was written") as caught:
        commit(root, DOCUMENT, files)
    assert "\n" not in str(caught.value)
    assert read_manifest(root, "track", DOCUMENT.key) is None


def test_a_large_remote_file_is_verified_by_size_and_its_readers_find_the_rest(
    s3_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(READ_BACK_BYTES + 1)
    store = s3_root.write_bytes
    monkeypatch.setattr(s3_root, "write_bytes", lambda path, content: store(path, content[:-1]))
    with pytest.raises(RootError, match=f"{READ_BACK_BYTES} of {READ_BACK_BYTES + 1} bytes"):
        commit(s3_root, DOCUMENT, {"tracks.bin": data})
    monkeypatch.setattr(s3_root, "write_bytes", lambda path, content: store(path, b"\1" + content[1:]))
    committed = commit(s3_root, DOCUMENT, {"tracks.bin": data})
    with pytest.raises(RootError, match="is damaged"):
        read_file(s3_root, committed.files["tracks.bin"])


@pytest.mark.parametrize("stored", [b"", b"vide", None])
def test_a_file_stored_already_must_be_there_whole(root: Root, stored: bytes | None) -> None:
    video = StoredFile(video_path("ab" * 32), 5, "ab" * 32)
    if stored is not None:
        root.write_bytes(video.path, stored)
    with pytest.raises(RootError, match=r"videos/ab/.* is not stored as it was written"):
        commit(root, DOCUMENT, {"video.bin": video})
    assert read_manifest(root, "track", DOCUMENT.key) is None
    root.write_bytes(video.path, b"video")
    assert commit(root, DOCUMENT, {"video.bin": video}).files["video.bin"] == video


def test_a_manifest_removed_under_a_loser_is_written_again(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(root, DOCUMENT, {"tracks.bin": b"first"})
    create = root.create_bytes

    def create_and_remove(path: str, data: bytes) -> bool:
        created = create(path, data)
        if not created:
            root.remove(path)
        return created

    monkeypatch.setattr(root, "create_bytes", create_and_remove)
    second = commit(root, DOCUMENT, {"tracks.bin": b"second"})
    assert read_file(root, second.files["tracks.bin"]) == b"second"
    assert read_manifest(root, "track", DOCUMENT.key) == second


def test_a_missing_file_is_named(root: Root) -> None:
    file = commit(root, DOCUMENT, {"tracks.bin": b"data"}).files["tracks.bin"]
    root.remove(file.path)
    with pytest.raises(RootError, match=r"^root: track/.*/tracks-.* is missing; run tritrack fsck --repair"):
        read_file(root, file)
