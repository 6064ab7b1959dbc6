"""The contract of a root, the same over local disk, memory:// and S3."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.root import Root, RootError, hash_file

PROJECT = Path(__file__).resolve().parents[2]


def test_a_written_file_reads_back_whole_and_in_ranges(root: Root) -> None:
    data = random.Random(0).randbytes(100_000)
    assert not root.exists("a/b/file.bin")
    root.write_bytes("a/b/file.bin", data)
    assert root.exists("a/b/file.bin")
    assert root.size("a/b/file.bin") == len(data)
    assert root.read_bytes("a/b/file.bin") == data
    for offset, size in [(0, 1), (0, 100_000), (99_999, 1), (512, 4096), (7, 0)]:
        assert root.read_range("a/b/file.bin", offset, size) == data[offset : offset + size]
    assert root.read_range("a/b/file.bin", 99_990, 100) == data[99_990:]
    assert root.read_range("a/b/file.bin", 100_000, 10) == b""
    assert root.digest("a/b/file.bin") == (hashlib.sha256(data).hexdigest(), len(data))


def test_writing_again_replaces_and_removing_twice_is_quiet(root: Root) -> None:
    root.write_bytes("file", b"one")
    root.write_bytes("file", b"two")
    assert root.read_bytes("file") == b"two"
    root.remove("file")
    root.remove("file")
    assert not root.exists("file")


def test_a_missing_file_is_file_not_found(root: Root, tmp_path: Path) -> None:
    for read in (root.read_bytes, root.size, root.digest, root.modified):
        with pytest.raises(FileNotFoundError):
            read("no/such/file")
    with pytest.raises(FileNotFoundError):
        root.download("no/such/file", tmp_path / "copy")
    assert list(tmp_path.glob("*copy*")) == []


@pytest.mark.parametrize("path", ["..", "../beside", "a/../../beside"])
def test_no_path_leads_out_of_a_root(root: Root, tmp_path: Path, path: str) -> None:
    """A record that was tampered with can name what it likes; nothing beside the root is read, written or removed."""
    calls = (
        root.read_bytes,
        root.exists,
        root.size,
        root.digest,
        root.remove,
        lambda path: root.write_bytes(path, b""),
    )
    for call in (
        *calls,
        lambda path: root.create_bytes(path, b""),
        lambda path: root.download(path, tmp_path / "copy"),
    ):
        with pytest.raises(RootError, match="leads out of"):
            call(path)
    root.write_bytes("a..b/..c", b"a name")
    assert root.read_bytes("a..b/..c") == b"a name"


def test_names_are_sorted_direct_children_and_never_stale(root: Root) -> None:
    assert root.names("folder") == []
    for number in (3, 1, 2):
        root.write_bytes(f"folder/{number}.json", b"{}")
        assert f"{number}.json" in root.names("folder")
    root.write_bytes("folder/deep/er/file", b"")
    assert root.names("folder") == ["1.json", "2.json", "3.json", "deep"]
    root.remove("folder/2.json")
    assert root.names("folder") == ["1.json", "3.json", "deep"]
    assert not root.exists("folder/2.json")


def test_another_writer_is_seen_at_once(root: Root) -> None:
    """s3fs keeps listings; a second client's file must show all the same."""
    assert not root.exists("shared/one")
    assert root.names("shared") == []
    script = "import sys; from storage.root import open_root; open_root(sys.argv[1]).write_bytes('shared/one', b'1')"
    if root.url.startswith("memory"):
        root.write_bytes("shared/one", b"1")
    else:
        subprocess.run([sys.executable, "-c", script, root.url], check=True, cwd=PROJECT)
    assert root.size("shared/one") == 1
    assert root.read_bytes("shared/one") == b"1"
    assert root.exists("shared/one")
    assert root.names("shared") == ["one"]


def test_exactly_one_of_many_racers_creates(root: Root) -> None:
    for attempt in range(3):
        start = threading.Barrier(8)

        def race(racer: int, start: threading.Barrier = start, path: str = f"race/{attempt}.json") -> bool:
            start.wait()
            return root.create_bytes(path, f"racer {racer}".encode())

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(8)))
        assert sum(won) == 1
        assert root.read_bytes(f"race/{attempt}.json") == f"racer {won.index(True)}".encode()
    assert root.names("race") == ["0.json", "1.json", "2.json"]


def test_upload_and_download_copy_the_bytes(root: Root, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)  # more than one block
    source = tmp_path / "source"
    source.write_bytes(data)
    root.upload(source, "videos/ab/abcd")
    root.download("videos/ab/abcd", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == data
    assert hash_file(source) == (hashlib.sha256(data).hexdigest(), len(data))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["copy"]


def test_a_root_pickles_as_its_url(root: Root) -> None:
    root.write_bytes("file", b"data")
    copy = pickle.loads(pickle.dumps(root))
    assert copy.url == root.url
    assert copy.read_bytes("file") == b"data"
