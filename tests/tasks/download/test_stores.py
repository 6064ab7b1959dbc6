"""Sources in object stores: what may be opened, folders and lists that lie there, and what such a list may name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.root import Root, RootError, open_root
from tasks.download.sources import read_sources
from tasks.download.stores import allowed_place, open_place, require_stores

_numbers = itertools.count()


@pytest.fixture
def store() -> Iterator[Root]:
    """A store in memory, with two folders of clips."""
    root = open_root(f"memory://sources-{next(_numbers)}")
    for path in ("clips/a.mp4", "clips/deep/b.MKV", "clips/notes.txt", "clips/.hidden.mp4", "clips2/c.mp4"):
        root.write_bytes(path, b"x")
    yield root
    root.filesystem.rm(root.base, recursive=True)


def named(root: Root, argument: str, *allow: str) -> set[str]:
    """The locations that an argument names, relative to the store."""
    found = read_sources(f"{root.url}/{argument}", [f"{root.url}/{one}" for one in allow])
    return {source.location.removeprefix(f"{root.url}/") for source in found}


@pytest.mark.parametrize(
    ("location", "allow", "place"),
    [
        ("s3://bucket/clips/a.mp4", ["s3://bucket"], ("s3://bucket", "clips/a.mp4")),
        ("s3://bucket/clips/a.mp4", ["s3://bucket/clips/"], ("s3://bucket/clips", "a.mp4")),
        ("S3A://bucket/clips/a.mp4", ["s3://other", " s3a://bucket/clips"], ("s3://bucket/clips", "a.mp4")),
        ("s3://bucket/clips/", ["s3://bucket/clips"], ("s3://bucket/clips", "")),
        ("s3://bucket/a.mp4", ["s3://bucket/a.mp4"], ("s3://bucket/a.mp4", "")),
        ("s3://bucket/a..b.mp4", ["s3://bucket"], ("s3://bucket", "a..b.mp4")),
        ("s3://bucket/clips2/a.mp4", ["s3://bucket/clips"], None),
        ("s3://bucket2/a.mp4", ["s3://bucket"], None),
        ("s3://bucket/Clips/a.mp4", ["s3://bucket/clips"], None),
        ("gs://bucket/a.mp4", ["s3://bucket"], None),
        ("s3://bucket/clips/../private/a.mp4", ["s3://bucket/clips"], None),
        ("s3://bucket/clips/%2e%2E/private/a.mp4", ["s3://bucket/clips"], None),
        ("s3://bucket/clips/..", ["s3://bucket/clips"], None),
        ("s3://bucket/clips/..\\private\\a.mp4", ["s3://bucket/clips"], None),
        ("s3://bucket/clips/./a.mp4", ["s3://bucket/clips"], None),
        ("s3://bucket/clips::file:///etc/passwd", ["s3://bucket"], None),
        ("simplecache::s3://bucket/clips/a.mp4", ["s3://bucket"], None),
        ("file:///etc/passwd", ["s3://bucket"], None),
        ("/etc/passwd", ["s3://bucket"], None),
        ("s3://bucket/a.mp4", [], None),
    ],
)
def test_prefixes_match_by_whole_parts(location: str, allow: list[str], place: tuple[str, str] | None) -> None:
    assert allowed_place(location, allow) == place


@pytest.mark.parametrize(
    "prefix", ["", "/data", "file:///data", "s3://", "s3:///x", "https://e.com", "s3://b/../c", "s3://b::x"]
)
def test_a_prefix_that_names_no_store_is_told(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"names no object store; give s3://bucket") as caught:
        require_stores(["s3://fine", prefix])
    assert repr(prefix) in str(caught.value)
    with pytest.raises(ValueError, match="names no object store"):
        read_sources("https://e.com", [prefix])


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "%2e%2e", "::", "\\", "c.mp4"]), max_size=6))
def test_nothing_leaves_a_prefix(parts: list[str]) -> None:
    place = allowed_place("s3://bucket/" + "/".join(parts), ["s3://bucket/a"])
    if place is not None:
        assert parts[0] == "a"
        assert not {"..", "."} & set(parts)
        assert place[0] == "s3://bucket/a"


def test_an_argument_in_a_store(store: Root) -> None:
    assert named(store, "clips/", "") == {"clips/a.mp4", "clips/deep/b.MKV"}
    assert named(store, "clips", "clips") == {"clips/a.mp4", "clips/deep/b.MKV"}  # one that holds videos is a folder
    assert named(store, "", "") == {"clips/a.mp4", "clips/deep/b.MKV", "clips2/c.mp4"}
    assert named(store, "clips/a.mp4", "clips") == {"clips/a.mp4"}
    assert named(store, "clips/a.mp4", "clips/a.mp4") == {"clips/a.mp4"}
    assert named(store, "none/", "") == set()
    (source,) = read_sources(f"{store.url}/clips/a.mp4", [store.url])
    assert source.kind == "object"


def test_an_argument_outside_is_refused_with_the_remedy(store: Root) -> None:
    remedy = (
        rf"lies in no store of download.allow_stores; allow it with --set 'download.allow_stores=\[\"{store.url}\"\]'"
    )
    for argument in ("clips/", "clips/a.mp4", "list.csv"):
        with pytest.raises(ValueError, match=remedy):
            named(store, argument)
        with pytest.raises(ValueError, match=remedy):
            named(store, argument, "clip")


@pytest.mark.parametrize("argument", ["none.mp4", "none.csv", "none"])
def test_an_argument_that_a_store_lacks_is_told(argument: str, store: Root) -> None:
    with pytest.raises(ValueError, match=rf"{argument}' does not exist; check it"):
        named(store, argument, "")


def test_a_list_in_a_store_names_no_path_of_this_machine(store: Root, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").touch()
    lines = [
        "https://e.com/1", "ytsearch2:cats", "clips/a.mp4", "clips2/", f"{store.url}/clips/deep/b.MKV", "memory://other/d.mp4",
        str(tmp_path / "secret.mp4"), "~/secret.mp4", "../secret.mp4", "clips/../../secret.mp4", "\0", "file:///etc/passwd",
    ]  # fmt: skip
    store.write_bytes("lists/all.txt", b"# nothing here\n")
    store.write_bytes("all.txt", "\n".join(lines).encode())
    found = read_sources(f"{store.url}/all.txt", [store.url])
    assert {source.kind for source in found} == {"url", "search", "object"}
    alive = {source.location for source in found if not source.location.startswith("unusable:")}
    assert alive == {
        "https://e.com/1", "ytsearch2:cats", f"{store.url}/clips/a.mp4", f"{store.url}/clips2/c.mp4",
        f"{store.url}/clips/deep/b.MKV", "memory://other/d.mp4", "file:///etc/passwd",
    }  # fmt: skip
    dead = [source.location for source in found if source.location.startswith("unusable:")]
    assert len(dead) == 5
    assert sum("no path elsewhere" in location for location in dead) == 4


def test_a_list_in_a_store_reads_no_file_of_the_working_folder(
    store: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name.mp4").touch()
    store.write_bytes("all.txt", b"odd:name.mp4")
    (source,) = read_sources(f"{store.url}/all.txt", [store.url])
    assert (source.kind, source.location) == ("url", "odd:name.mp4")


def test_tables_in_a_store_keep_what_they_say(store: Root) -> None:
    store.write_bytes("lists/a.csv", b"path,licence\nx.mp4,CC0\n")
    (source,) = read_sources(f"{store.url}/lists/a.csv", [f"{store.url}/lists"])
    assert (source.location, source.given) == (f"{store.url}/lists/x.mp4", '{"licence":"CC0"}')
    store.write_bytes("lists/b.csv", b"name,licence\nx.mp4,CC0\n")
    with pytest.raises(ValueError, match=rf"sources: '{store.url}/lists/b.csv' names no location column"):
        read_sources(f"{store.url}/lists/b.csv", [store.url])


def test_a_local_list_names_objects(store: Root, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{store.url}/clips/\n{store.url}/clips2/\n{store.url}/none/\n")
    found = {source.location.removeprefix(store.url) for source in read_sources(str(listed), [f"{store.url}/clips"])}
    assert found == {"/clips/a.mp4", "/clips/deep/b.MKV", "/clips2/", "/none/"}  # what is not allowed, or empty, stays


def test_a_list_too_large_to_copy_is_refused(store: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.download.stores._MAX_LIST_BYTES", 10)
    store.write_bytes("all.txt", b"https://e.com/1")
    with pytest.raises(ValueError, match=r"all.txt' has 15 bytes; split it"):
        named(store, "all.txt", "")


def test_a_store_that_cannot_be_opened_names_the_list_and_the_line(tmp_path: Path, s3_endpoint: str) -> None:
    (tmp_path / "list.txt").write_text("https://e.com/1\ns3://no-such-bucket-here/clips/\n")
    with pytest.raises(RootError, match=r"sources: '.*list\.txt', line 2: bucket 'no-such-bucket-here' does not exist"):
        read_sources(str(tmp_path / "list.txt"), ["s3://no-such-bucket-here/clips"])


def test_sources_in_s3(s3_root_url: Callable[[], str]) -> None:
    root = open_root(s3_root_url())
    for path in ("clips/a.mp4", "clips/deep/b.webm", "clips/.hidden.mp4", "clips2/c.mp4"):
        root.write_bytes(path, b"x")
    root.write_bytes("list.jsonl", b'{"path": "clips/", "licence": "CC0"}\n{"url": "https://e.com/1"}')
    assert named(root, "clips/", "clips") == {"clips/a.mp4", "clips/deep/b.webm"}
    assert named(root, "clips", "") == {"clips/a.mp4", "clips/deep/b.webm"}
    assert named(root, "clips/a.mp4", "clips/a.mp4") == {"clips/a.mp4"}
    assert named(root, "list.jsonl", "") == {"clips/a.mp4", "clips/deep/b.webm", "https://e.com/1"}
    place = open_place(f"{root.url}/clips/a.mp4", [f"{root.url}/clips/a.mp4"])
    assert place is not None
    assert place[0].read_bytes(place[1]) == b"x"
