"""The contract of a root, the same over local disk, memory:// and S3, and the roots that cannot be used."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.root import Root, RootError, hash_file, open_root

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
    with root.open("a/b/file.bin") as reader:
        reader.seek(1234)
        assert reader.read(10) == data[1234:1244]


def test_writing_again_replaces_and_removing_twice_is_quiet(root: Root) -> None:
    root.write_bytes("file", b"one")
    root.write_bytes("file", b"two")
    assert root.read_bytes("file") == b"two"
    root.remove("file")
    root.remove("file")
    assert not root.exists("file")


def test_a_missing_file_is_file_not_found(root: Root, tmp_path: Path) -> None:
    for read in (root.read_bytes, root.size, root.open):
        with pytest.raises(FileNotFoundError):
            read("no/such/file")
    with pytest.raises(FileNotFoundError):
        root.download("no/such/file", tmp_path / "copy")
    assert list(tmp_path.glob("*copy*")) == []


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
    with root.open("shared/one") as reader:
        assert reader.read() == b"1"
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


def test_local_readers_never_see_half_a_file(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"))
    contents = [bytes([number]) * 200_000 for number in range(4)]
    root.write_bytes("file", contents[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                root.write_bytes("file", content)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            for _ in range(200):
                assert root.read_bytes("file") in contents
        finally:
            stop.set()
        writer.result()
    assert os.listdir(tmp_path / "root") == ["file"]


def test_a_failed_local_upload_leaves_nothing(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"))
    with pytest.raises(FileNotFoundError):
        root.upload(tmp_path / "absent", "videos/ab/abcd")
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []


def test_a_root_below_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RootError, match=r"cannot be made .*choose a folder") as caught:
        open_root(str(tmp_path / "file" / "root"))
    _assert_one_line(caught.value)


def test_a_root_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RootError, match="choose a folder") as caught:
        open_root(str(tmp_path / "file"))
    _assert_one_line(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense://bucket/prefix", "s3x://bucket"])
def test_an_unknown_scheme_is_one_clear_line(url: str) -> None:
    with pytest.raises(RootError, match="give a folder") as caught:
        open_root(url)
    _assert_one_line(caught.value)


def test_a_missing_bucket_is_one_clear_line(s3_root_url: Callable[[], str]) -> None:
    with pytest.raises(RootError, match="bucket 'no-such-bucket' does not exist") as caught:
        open_root("s3://no-such-bucket/root")
    _assert_one_line(caught.value)


OPEN_A_BUCKET = """
from storage.root import RootError, open_root
try:
    open_root("s3://bucket/root")
except RootError as error:
    print(error)
"""
NO_SERVER = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_ENDPOINT_URL": NO_SERVER, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, "cannot be reached"),
        ({"AWS_ENDPOINT_URL": NO_SERVER}, "set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "no url", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, "check AWS_ENDPOINT"),
    ],
    ids=["unreachable", "no credentials", "bad endpoint"],
)
def test_a_store_that_cannot_be_used_is_one_clear_line(settings: dict[str, str], words: str) -> None:
    """In its own process, since the environment is read once."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    places = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    quick = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_A_BUCKET],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=PROJECT,
        env=environment | places | quick | settings,
    )
    assert words in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


def _assert_one_line(error: RootError) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith("root: ")
