"""The cache of remote shards: fetched once, verified, bounded, shared by processes, and whole after any death."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.manifests import StoredFile
from storage.root import Root, RootError, hash_file, open_root
from storage.shard_cache import HeldShard, cache_folder, hold_shard, make_room

SIZE = 1000
_roots = itertools.count(1)

# A process that fetches one shard: argv is URL, path, size, digest, folder. `action` stands for the download.
_PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from storage.manifests import StoredFile
from storage.root import Root, open_root
from storage.shard_cache import hold_shard
url, path, size, sha256, folder = sys.argv[1:]
folder, download = Path(folder), Root.download
def fetch(self, path, target):
    {action}
Root.download = fetch
held = hold_shard(open_root(url), StoredFile(path, int(size), sha256), folder, 10**6)
print(len(held.path.read_bytes()))
"""


@pytest.fixture
def remote() -> Root:
    """An empty root that is not on local disk."""
    return open_root(f"memory://shard-cache-{next(_roots)}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were downloaded, in order."""
    paths: list[str] = []
    download = Root.download

    def note(self: Root, path: str, target: Path) -> None:
        paths.append(path)
        download(self, path, target)

    monkeypatch.setattr(Root, "download", note)
    return paths


def put(root: Root, number: int, size: int = SIZE) -> StoredFile:
    """A shard of so many bytes in the root."""
    data = bytes([number]) * size
    path = f"shard/{number}/pairs.tar"
    root.write_bytes(path, data)
    return StoredFile(path, size, hashlib.sha256(data).hexdigest())


def kept(folder: Path) -> set[str]:
    """The whole shards of the cache, by digest."""
    return {path.name for path in folder.iterdir() if len(path.name) == 64}


def fetch_and_release(root: Root, file: StoredFile, folder: Path, limit_bytes: int | None = None) -> None:
    hold_shard(root, file, folder, limit_bytes).release()


def test_a_shard_is_fetched_once_and_kept_for_the_next_run(remote: Root, folder: Path, fetched: list[str]) -> None:
    file = put(remote, 1)
    for _ in range(3):
        held = hold_shard(remote, file, folder)
        assert hash_file(held.path) == (file.sha256, file.size)
        held.release()
    assert fetched == [file.path]
    assert {path.name for path in folder.iterdir()} == {file.sha256, f"{file.sha256}.lock"}


def test_the_least_recently_used_goes_first(remote: Root, folder: Path, fetched: list[str]) -> None:
    files = [put(remote, number) for number in range(4)]
    for moment, file in enumerate(files[:3]):
        fetch_and_release(remote, file, folder, 3 * SIZE)
        os.utime(folder / file.sha256, (moment, moment))
    fetch_and_release(remote, files[0], folder, 3 * SIZE)  # used again
    fetch_and_release(remote, files[3], folder, 3 * SIZE)
    assert kept(folder) == {files[number].sha256 for number in (0, 2, 3)}
    assert not (folder / f"{files[1].sha256}.lock").exists()
    fetch_and_release(remote, files[1], folder, 3 * SIZE)
    assert len(fetched) == 5, "what was dropped is fetched again"


def test_what_is_in_use_stays_though_the_limit_is_passed(remote: Root, folder: Path) -> None:
    files = [put(remote, number) for number in range(4)]
    held = [hold_shard(remote, file, folder, 2 * SIZE) for file in files[:3]]
    assert kept(folder) == {file.sha256 for file in files[:3]}
    held[1].release()
    held.append(hold_shard(remote, files[3], folder, 2 * SIZE))
    assert kept(folder) == {files[number].sha256 for number in (0, 2, 3)}
    for number in (0, 2, 3):
        held[number].release()
    make_room(folder, 0)
    assert list(folder.iterdir()) == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(0, 20),
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=25),
)
def test_size_and_holds_are_kept_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int, steps: list[tuple[bool, int]]
) -> None:
    """The folder never holds more than the limit, or else what is in use and nothing besides; all of it is whole."""
    root, folder = open_root(f"memory://shard-cache-{next(_roots)}"), tmp_path_factory.mktemp("cache")
    files = [put(root, number, size) for number, size in enumerate(sizes)]
    holds: dict[int, HeldShard] = {}
    for takes, chosen in steps:
        number = chosen % len(files)
        if takes and number not in holds:
            holds[number] = hold_shard(root, files[number], folder, limit)
            in_use = {files[held].sha256 for held in holds}
            size = sum((folder / name).stat().st_size for name in kept(folder))
            assert in_use <= kept(folder)
            assert size <= limit or in_use == kept(folder)
            assert all(hash_file(folder / name)[0] == name for name in kept(folder))
        elif not takes and number in holds:
            holds.pop(number).release()
    for hold in holds.values():
        hold.release()


def test_other_files_of_the_folder_are_left_alone(remote: Root, folder: Path) -> None:
    folder.mkdir()
    others = [folder / "notes.txt", folder / "notes.lock", folder / ("g" * 64), folder / ("a" * 64 + ".bak")]
    for other in others:
        other.write_bytes(b"mine" * 1000)
    fetch_and_release(remote, put(remote, 1), folder, SIZE)
    make_room(folder, 0)
    assert sorted(folder.iterdir()) == sorted(others)


def test_a_damaged_shard_is_named_and_leaves_nothing(remote: Root, folder: Path) -> None:
    file = put(remote, 1)
    for data in (b"\0" * SIZE, b"", b"\1" * (SIZE - 1)):
        remote.write_bytes(file.path, data)
        with pytest.raises(RootError, match=r"shard/1/pairs\.tar is damaged") as caught:
            hold_shard(remote, file, folder)
        assert "\n" not in str(caught.value)
        assert list(folder.iterdir()) == []


def test_a_missing_shard_is_named(remote: Root, folder: Path) -> None:
    with pytest.raises(RootError, match=r"shard/9/pairs\.tar is missing; run tritrack fsck --repair"):
        hold_shard(remote, StoredFile("shard/9/pairs.tar", SIZE, "f" * 64), folder)
    assert list(folder.iterdir()) == []


def test_a_shard_that_was_cut_short_on_disk_is_fetched_again(remote: Root, folder: Path, fetched: list[str]) -> None:
    file = put(remote, 1)
    fetch_and_release(remote, file, folder)
    (folder / file.sha256).write_bytes(b"\1" * 10)
    held = hold_shard(remote, file, folder)
    assert hash_file(held.path) == (file.sha256, file.size)
    held.release()
    assert len(fetched) == 2


def test_a_folder_that_cannot_be_made_is_told_with_the_remedy(remote: Root, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RootError, match="set TRITRACK_CACHE to another folder"):
        hold_shard(remote, put(remote, 1), tmp_path / "file" / "cache")


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TRITRACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "tritrack" / "shards"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tritrack" / "shards"
    monkeypatch.setenv("TRITRACK_CACHE", "~/disk")
    assert cache_folder() == tmp_path / "disk"


def test_many_threads_fetch_a_shard_once(remote: Root, folder: Path, fetched: list[str]) -> None:
    files = [put(remote, number) for number in range(3)]
    begin = threading.Barrier(9)

    def take(number: int) -> HeldShard:
        begin.wait()
        return hold_shard(remote, files[number % 3], folder, 3 * SIZE)

    with ThreadPoolExecutor(9) as pool:
        for held in pool.map(take, range(9)):
            assert held.path.stat().st_size == SIZE
            held.release()
    assert sorted(fetched) == sorted(file.path for file in files)


def test_two_processes_fetch_a_shard_once(s3_root: Root, folder: Path, tmp_path: Path) -> None:
    """The second waits for the first, which does not end its download before both have begun."""
    file = put(s3_root, 1)
    action = f"open({str(tmp_path / 'fetches')!r}, 'a').write('x'); time.sleep(1.5); download(self, path, target)"
    processes = [_start(action, s3_root, file, folder) for _ in range(2)]
    try:
        answers = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [out for out, _ in answers] == [f"{SIZE}\n"] * 2, answers
    assert (tmp_path / "fetches").read_text() == "x"


@pytest.mark.parametrize(
    "action",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "target.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)",
        "target.with_name('.' + target.name + '.0123abcd').write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_a_killed_process_leaves_no_broken_shard(action: str, s3_root: Root, folder: Path) -> None:
    file, other = put(s3_root, 1), put(s3_root, 2)
    process = _start(action, s3_root, file, folder)
    assert process.wait(timeout=120) == -signal.SIGKILL
    process.communicate()
    assert kept(folder) == set()
    fetch_and_release(s3_root, other, folder, 5 * SIZE)
    assert {path.name for path in folder.iterdir()} == {other.sha256, f"{other.sha256}.lock"}, "the remains are gone"
    fetch_and_release(s3_root, file, folder, 5 * SIZE)
    assert hash_file(folder / file.sha256) == (file.sha256, file.size)


def _start(action: str, root: Root, file: StoredFile, folder: Path) -> subprocess.Popen[str]:
    arguments = [root.url, file.path, str(file.size), file.sha256, str(folder)]
    program = _PROGRAM.replace("{action}", action)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
