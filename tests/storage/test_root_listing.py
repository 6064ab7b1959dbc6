"""What collectors stand on: walking a folder, times, and reading and removing many files; the same over every root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.concurrency import concurrency, in_threads
from storage.root import Root, RootError, open_root
from storage.walking import modified_time


def test_a_walk_names_every_file_below_a_folder(root: Root) -> None:
    assert list(root.walk("track")) == []
    files = {
        "track/a/manifest.json": b"{}",
        "track/a/tracks-0.bin": b"12345",
        "track/b/c/deep": b"",
        "videos/ab/x": b"x",
    }
    for path, data in files.items():
        root.write_bytes(path, data)
    below = {entry.path: entry.size for entry in root.walk("track")}
    assert below == {path: len(data) for path, data in files.items() if path.startswith("track/")}
    assert {entry.path for entry in root.walk("")} == set(files)
    assert {entry.path for entry in root.walk("track/a")} == {"track/a/manifest.json", "track/a/tracks-0.bin"}
    assert not any(entry.temporary for entry in root.walk(""))
    root.remove("track/a/tracks-0.bin")
    assert {entry.path for entry in root.walk("track/a")} == {"track/a/manifest.json"}  # never stale


def test_a_walk_that_the_first_file_overtakes_names_no_folder(
    s3_root_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """s3fs lists nothing, asks for the folder as if it were a file, and finds it: another has just written into it."""
    root = open_root(s3_root_url())
    full = root.full("track")
    found = {full: {"name": full, "size": 0, "type": "directory"}}
    monkeypatch.setattr(root.filesystem, "find", lambda path, detail: found if path == full else {})
    assert list(root.walk("track")) == []


def test_a_walk_takes_no_neighbour_of_the_same_beginning(root: Root) -> None:
    root.write_bytes("track/file", b"")
    root.write_bytes("tracking/file", b"")
    assert [entry.path for entry in root.walk("track")] == ["track/file"]


def test_times_are_those_of_the_last_write(root: Root) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 keeps whole seconds
    root.write_bytes("folder/file", b"one")
    first = root.modified("folder/file")
    assert before <= first <= datetime.now(UTC) + timedelta(seconds=2)
    assert first.utcoffset() == timedelta(0)
    (entry,) = root.walk("folder")
    assert abs(entry.modified - first) < timedelta(seconds=1)  # memory:// takes the time twice
    root.write_bytes("folder/file", b"two")
    assert root.modified("folder/file") >= first
    with pytest.raises(FileNotFoundError):
        root.modified("folder/none")


def test_many_files_are_read_in_order_and_missing_ones_are_none(root: Root) -> None:
    paths = [f"many/{number}" for number in range(40)]
    for path in paths[::2]:
        root.write_bytes(path, path.encode())
    expected = [(path, path.encode() if number % 2 == 0 else None) for number, path in enumerate(paths)]
    assert list(root.read_many(paths)) == expected
    assert list(root.read_many([])) == []


def test_many_files_are_removed_and_missing_ones_are_quiet(root: Root) -> None:
    for number in range(20):
        root.write_bytes(f"many/{number}/file", b"")
    root.write_bytes("many/kept", b"")
    assert root.remove_many(f"many/{number}/file" for number in range(30)) == 30
    assert [entry.path for entry in root.walk("")] == ["many/kept"]
    assert root.names("many") == ["kept"]  # no empty folder stays, as on an object store


def test_a_walk_marks_what_a_killed_writer_left(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    root.write_bytes("track/key/tracks.bin", b"whole")
    (tmp_path / "track" / "key" / ".tracks.bin.0123abcd").write_bytes(b"ha")
    (tmp_path / "track" / "key" / ".DS_Store").write_bytes(b"not ours")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"not ours")
    found = {entry.path: (entry.size, entry.temporary) for entry in root.walk("")}
    assert found == {"track/key/tracks.bin": (5, False), "track/key/.tracks.bin.0123abcd": (2, True)}
    root.remove_many(entry.path for entry in root.walk("") if entry.temporary)
    assert not any(entry.temporary for entry in root.walk(""))


def test_a_walk_follows_links_to_another_disk_but_not_back_into_the_root(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "videos").symlink_to(tmp_path / "disk")
    root = open_root(str(tmp_path / "root"))
    root.write_bytes("videos/ab/abcd", b"video")
    root.write_bytes("track/key/manifest.json", b"{}")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "root" / "track")
    (tmp_path / "root" / "track" / "loop").symlink_to(tmp_path / "root")
    assert sorted(entry.path for entry in root.walk("")) == ["track/key/manifest.json", "videos/ab/abcd"]


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": datetime(2026, 1, 2, tzinfo=UTC)},
        {"LastModified": None, "mtime": 1767312000},
        {"mtime": 1767312000.0},
        {"updated": "2026-01-02T00:00:00.000Z"},
        {"created": datetime(2026, 1, 2)},
    ],
)
def test_times_are_understood_as_every_file_system_gives_them(info: dict[str, object]) -> None:
    assert modified_time(info) == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_file_system_without_times_is_told_apart() -> None:
    assert modified_time({"name": "file", "size": 3}) is None


def test_threads_take_items_as_results_are_asked_for() -> None:
    taken: list[int] = []
    results = in_threads(lambda item: item * item, (taken.append(number) or number for number in range(1000)))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 2 * concurrency() + 3
    results.close()
    assert len(taken) < 1000


def test_an_error_in_a_thread_is_raised_in_its_place() -> None:
    results = in_threads(lambda item: 12 // item, [3, 4, 0, 6])
    assert [next(results), next(results)] == [4, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("text", ["0", "-3", "many", "2.5", "²"])
def test_a_wrong_concurrency_is_one_clear_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_CONCURRENCY", text)
    with pytest.raises(ValueError, match=r"TRITRACK_CONCURRENCY is .* whole number from 1 on"):
        concurrency.__wrapped__()
    monkeypatch.setenv("TRITRACK_CONCURRENCY", "3")
    assert concurrency.__wrapped__() == 3


def test_links_leave_sizes_of_their_targets(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"12345")
    root = open_root(str(tmp_path / "root"))
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "linked")
    assert [(entry.path, entry.size) for entry in root.walk("")] == [("linked", 5)]


def test_a_folder_that_may_not_be_read_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_root(str(tmp_path))

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RootError, match=rf"^root: {tmp_path}/track is refused \(Permission denied\); make it readable"):
        list(root.walk("track"))
