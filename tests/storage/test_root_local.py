"""Local disk: files appear whole or not at all, whatever the disk can do and whoever cleans up beside the writer."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import local as local_files
from storage.root import Root, open_root


@pytest.fixture
def local_root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def test_readers_never_see_half_a_file(local_root: Root) -> None:
    contents = [bytes([number]) * 200_000 for number in range(4)]
    local_root.write_bytes("file", contents[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                local_root.write_bytes("file", content)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            for _ in range(200):
                assert local_root.read_bytes("file") in contents
        finally:
            stop.set()
        writer.result()
    assert os.listdir(local_root.base) == ["file"]


def test_a_failed_upload_leaves_nothing(local_root: Root, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        local_root.upload(tmp_path / "absent", "videos/ab/abcd")
    assert list(local_root.walk("")) == []


@pytest.mark.parametrize("operation", ["write_bytes", "create_bytes"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary(
    local_root: Root, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    local_root.write_bytes("folder/file", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        getattr(local_root, operation)("folder/file", b"new")
    assert local_root.read_bytes("folder/file") == b"old"
    assert os.listdir(f"{local_root.base}/folder") == ["file"]


def test_a_download_that_does_not_fit_leaves_nothing(
    local_root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_root.write_bytes("file", b"data")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        local_root.download("file", tmp_path / "scratch" / "copy")
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_hard_links_creates_all_the_same(
    local_root: Root, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert local_root.create_bytes("state/one", b"first")
    assert not local_root.create_bytes("state/one", b"second")
    assert local_root.read_bytes("state/one") == b"first"
    assert os.listdir(f"{local_root.base}/state") == ["one"]


def test_a_failing_link_is_no_answer(local_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="quota"):
        local_root.create_bytes("state/one", b"first")
    assert list(local_root.walk("")) == []


def test_removing_takes_the_empty_folders_and_no_others(local_root: Root) -> None:
    for path in ("track/a/x", "track/a/y", "track/b/c/z"):
        local_root.write_bytes(path, b"")
    local_root.remove("track/b/c/z")
    assert local_root.names("track") == ["a"]
    local_root.remove("track/a/x")
    assert local_root.names("track/a") == ["y"]
    local_root.remove("track/a/y")
    assert local_root.names("") == []
    assert Path(local_root.base).is_dir()


def test_writers_and_removers_of_one_folder_do_not_trip_each_other(local_root: Root) -> None:
    def churn(worker: int) -> None:
        for number in range(60):
            path = f"state/leases/{worker}-{number}"
            assert local_root.create_bytes(path, b"x")
            local_root.remove(path)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(churn, worker) for worker in range(4)]:
            future.result()
    assert local_root.names("") == []


def test_a_folder_that_keeps_vanishing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match="keeps vanishing"):
        local_files.write(tmp_path / "none" / "file", [b"data"])
