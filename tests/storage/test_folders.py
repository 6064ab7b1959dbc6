"""The digest of an outside folder: what changes it, what must not, and when its bytes are read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import storage.folders
from storage.folders import contents_digest
from storage.root import hash_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRITRACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes were read."""
    names: list[str] = []
    monkeypatch.setattr(storage.folders, "hash_file", lambda path: (names.append(path.name), hash_file(path))[1])
    return names


def _folder(place: Path) -> Path:
    (place / "inner").mkdir(parents=True)
    for name, text in (("a.txt", "one"), ("inner/b.txt", "two"), (".hidden", "three")):
        (place / name).write_text(text)
        os.utime(place / name, (1_000_000_000, 1_000_000_000))
    return place


def test_names_and_bytes_count_and_nothing_else(tmp_path: Path) -> None:
    first, second = contents_digest(_folder(tmp_path / "x")), contents_digest(_folder(tmp_path / "elsewhere"))
    assert first == second, "wherever it lies"
    (tmp_path / "x" / ".hidden").write_text("other")
    (tmp_path / "x" / "inner" / ".git").mkdir()
    (tmp_path / "x" / "inner" / ".git" / "c.txt").write_text("other")
    assert contents_digest(tmp_path / "x") == first
    (tmp_path / "x" / "inner" / "b.txt").write_text("owt")
    changed = contents_digest(tmp_path / "x")
    (tmp_path / "x" / "inner" / "b.txt").rename(tmp_path / "x" / "inner" / "c.txt")
    assert len({first, changed, contents_digest(tmp_path / "x")}) == 3
    assert contents_digest(tmp_path / "x" / "a.txt") == hash_file(tmp_path / "x" / "a.txt")[0]


def test_links_to_folders_count_as_what_they_lead_to(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    _folder(tmp_path / "real")
    (folder / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(folder)  # round and round
    first = contents_digest(folder)
    (tmp_path / "real" / "inner" / "b.txt").write_text("owt")
    assert contents_digest(folder) != first


def test_unchanged_files_are_read_once(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "x")
    monkeypatch.setattr(storage.folders, "_FRESH_NS", 0)  # a file's time of change is now, whatever utime says
    first = contents_digest(folder)
    assert sorted(reads) == ["a.txt", "b.txt"]
    assert contents_digest(folder) == first
    assert len(reads) == 2
    (folder / "a.txt").write_text("neo")
    os.utime(folder / "a.txt", (1_000_000_000, 1_000_000_000))  # as long, and as old: its change shows still
    assert contents_digest(folder) != first
    assert len(reads) == 4


def test_what_changed_just_now_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    folder = _folder(tmp_path / "x")
    assert contents_digest(folder) == contents_digest(folder)
    assert len(reads) == 4


def test_a_machine_without_room_for_the_cache_reads_again(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITRACK_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(storage.folders, "_FRESH_NS", 0)
    folder = _folder(tmp_path / "x")
    assert contents_digest(folder) == contents_digest(folder)
    assert len(reads) == 4


def test_a_link_that_leads_nowhere_is_named_in_one_line(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "x")
    (folder / "broken").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"broken.*cannot be read") as caught:
        contents_digest(folder)
    assert "\n" not in str(caught.value)
