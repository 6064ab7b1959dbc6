"""What stands in a data set for the argument that named its sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.sources import given_sources, read_list
from storage.root import open_root
from storage.versions import SourceEntry, Version
from tasks.download.sources import source_at


def test_an_origin_is_one_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("https://e.com/1")
    assert (
        read_list("list.txt").origin
        == read_list(f" {tmp_path}/./list.txt").origin
        == os.path.join(tmp_path, "list.txt")
    )
    assert read_list("https://youtu.be/BaW_jenozKc?t=3").origin == "https://www.youtube.com/watch?v=BaW_jenozKc"
    assert read_list("https://u:pw@e.com/?token=abc").origin == "https://***@e.com/?token=***"
    assert read_list("ytsearch3:cats  playing").origin == "ytsearch3:cats playing"


def test_an_argument_in_a_store_is_opened_where_it_is_allowed() -> None:
    root = open_root("memory://flows-sources")
    root.write_bytes("clips/a.mp4", b"x")
    try:
        given = given_sources(f"{root.url}/clips/", Version("x"), [root.url])
        assert [source.location for source in given] == [f"{root.url}/clips/a.mp4"]
        with pytest.raises(ValueError, match="allow it with --set"):
            given_sources(f"{root.url}/clips/", Version("x"))
    finally:
        root.filesystem.rm(root.base, recursive=True)


def test_an_empty_folder_empties_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no source; check it, or purge"):
        read_list(str(tmp_path))


def test_without_an_argument_the_data_set_names_its_sources() -> None:
    known, gone = source_at("https://e.com/1", '{"title":"x"}'), source_at("https://e.com/2")
    entries = {
        known.id: SourceEntry(known.location, "k", given=known.given),
        gone.id: SourceEntry(gone.location, "k", removed="2030-01-01"),
    }
    assert list(given_sources("", Version("x", sources=entries))) == [known]
