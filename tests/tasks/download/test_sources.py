"""Sources: what a list, a folder, a file, a URL and a search name, in an order that says nothing."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.download.sources import MAX_CHARACTERS, UNUSABLE, Source, kind_of, read_sources, source_at


def locations(argument: str) -> set[str]:
    return {source.location for source in read_sources(argument)}


def test_a_list_takes_urls_paths_folders_searches_and_comments(tmp_path: Path) -> None:
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    for name in ("clips/a.mp4", "clips/deep/b.MKV", "clips/deep/notes.txt", "clips/.hidden.mp4", "odd:name.bin"):
        (tmp_path / name).touch()
    listed = tmp_path / "list.txt"
    listed.write_text(
        "\ufeff# a comment\n\n  https://example.com/v#t=1 \nsingle.mp4\nclips\n/absent/x.mp4\nhttps://example.com/v\n"
        "odd:name.bin\nytsearch2:two  cats\ns3://bucket/clips/\n"
    )
    assert locations(str(listed)) == {
        "https://example.com/v",
        str(tmp_path / "single.mp4"),  # it need not exist: that is counted later
        str(tmp_path / "clips" / "a.mp4"),
        str(tmp_path / "clips" / "deep" / "b.MKV"),
        "/absent/x.mp4",
        str(tmp_path / "odd:name.bin"),
        "ytsearch2:two cats",
        "s3://bucket/clips/",  # in no allowed store: the fetch drops it
    }
    assert len(read_sources(str(listed))) == 8


def test_order_and_repeats_say_nothing(tmp_path: Path) -> None:
    lines = [f"https://example.com/{number}" for number in range(20)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    random.Random(0).shuffle(lines)
    (tmp_path / "b.txt").write_text("\n".join(lines + lines[:5]))
    assert read_sources(str(tmp_path / "a.txt")) == read_sources(str(tmp_path / "b.txt"))


ROWS = st.tuples(
    st.sampled_from(["https://youtu.be/BaW_jenozKc", "https://m.youtube.com/watch?v=BaW_jenozKc", "https://E.com/1"]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "CC BY"]),
)


@given(rows=st.lists(ROWS, min_size=1, max_size=6), data=st.data())
def test_of_repeats_the_content_decides_what_is_said(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    listed = tmp_path_factory.getbasetemp() / "repeats.tsv"

    def read(rows: list[tuple[str, str, str]]) -> list[Source]:
        listed.write_text("\n".join("\t".join(row) for row in [("url", "title", "licence"), *rows]))
        return read_sources(str(listed))

    found = read(rows)
    assert found == read(data.draw(st.permutations(rows)))
    assert found == read(rows + rows[:1])
    for source in found:  # what one row says is not lost to one that says nothing
        saying = [row for row in rows if source_at(row[0]).id == source.id and any(row[1:])]
        assert bool(source.given) == bool(saying)


def test_a_folder_gives_its_video_files(tmp_path: Path) -> None:
    for name in ("x.webm", "y.AVI", "z.jpg", "list.txt", "sub/w.mov", ".git/v.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert {Path(location).name for location in locations(str(tmp_path))} == {"x.webm", "y.AVI", "w.mov"}


def test_a_disk_that_fails_empties_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    scan = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("deep"):
            raise OSError(5, "Input/output error", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(ValueError, match=r"deep' cannot be listed \(Input/output error\); check its disk"):
        read_sources(str(tmp_path))


def test_a_folder_that_may_not_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a.mp4").touch()
    scan = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert locations(str(tmp_path)) == {str(tmp_path / "a.mp4")}
    assert "may not be listed" in caplog.text


def test_one_file_one_url_or_one_search(tmp_path: Path) -> None:
    (tmp_path / "odd:name.bin").touch()
    (source,) = read_sources(str(tmp_path / "odd:name.bin"))
    assert (source.kind, source.location) == ("file", str(tmp_path / "odd:name.bin"))
    (source,) = read_sources(" https://example.com/watch?v=1#t=3 ")
    assert (source.kind, source.location) == ("url", "https://example.com/watch?v=1")
    (source,) = read_sources("ytsearch20:cats playing")
    assert (source.kind, source.location) == ("search", "ytsearch20:cats playing")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "javascript:alert(1)", "http://[::1/x"])
def test_odd_schemes_are_urls_that_fail_later(location: str, tmp_path: Path) -> None:
    assert source_at(location) == Source(source_at(location).id, location, "url")
    (tmp_path / "list.txt").write_text(location)
    assert locations(str(tmp_path / "list.txt")) == {location}


@pytest.mark.parametrize("argument", ["/no/such/list.txt", "no-such-file.mp4", ""])
def test_a_missing_argument_is_one_line_that_names_it(argument: str) -> None:
    with pytest.raises(ValueError, match="does not exist; give a") as caught:
        read_sources(argument)
    assert repr(argument) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("nul\0byte", r"'nul\\x00byte' cannot be used \(it holds control characters\)"),
        ("https://e.com/a\nb", "it holds control characters"),
        ("caf\udce9.mp4", "it is no UTF-8 text"),
        ("https://e.com/" + "a" * MAX_CHARACTERS, "it has more than 4096 characters"),
        ("file:///etc/passwd", "is a URL of a file; give its path"),
    ],
)
def test_an_argument_that_cannot_be_used_is_told_in_one_line(argument: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_sources(argument)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_a_list_holds_and_nobody_can_fetch_is_dropped_not_raised(tmp_path: Path) -> None:
    lines = [
        "https://e.com/\0a",
        "~\0/x",
        "a" * 10_000,
        "https://e.com/" + "b" * 10_000,
        "https://e.com/\x1b[2J",
        "ok.mp4",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = read_sources(str(tmp_path / "list.txt"))
    dead = [source for source in found if source.location.startswith(UNUSABLE)]
    assert len(found) == len(lines)
    assert len(dead) == len(lines) - 1
    for source in dead:
        assert source.kind == "url"  # whose scheme no fetch knows
        assert source.location.isprintable()
        assert len(source.location) < 400
        assert source_at(source.location) == source


def test_a_file_whose_name_is_no_text_is_dropped(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))).touch()
    (source,) = read_sources(str(tmp_path))
    assert source.location.startswith(UNUSABLE)
    source.location.encode()  # a version can hold it


def test_equal_locations_have_one_id_and_others_do_not() -> None:
    def ids(*urls: str) -> int:
        return len({source_at(url).id for url in urls})

    assert ids("https://Example.com", "https://example.com/", "HTTPS://example.com:443/#top") == 1
    assert ids("https://example.com/a", "https://example.com/A", "http://example.com/a", "https://example.com/a?b") == 4
    assert ids("/a/../b.mp4", "/b.mp4", "/./b.mp4") == 1
    assert ids("s3://bucket/a.mp4", "s3a://bucket/a.mp4", "S3://bucket/a.mp4") == 1
    assert ids("s3://bucket/a.mp4", "s3://bucket/A.mp4", "gs://bucket/a.mp4", "s3://bucket//a.mp4") == 4
    assert ids("ytsearch5:cats", "YTSEARCH5: cats") == 1


def test_an_id_is_golden() -> None:
    """Ids stand in data set versions: a change here would fetch everything again."""
    digest = "20c653445e9a23842d362dbaf0aacb97d9a0f0acb3776d06a750090bf4c1df73"
    assert source_at("https://example.com/watch?v=1") == Source(digest, "https://example.com/watch?v=1", "url")
    assert source_at("https://youtu.be/BaW_jenozKc").id.startswith("cfb326a281a3cc82")
    assert source_at("/data/a.mp4").id.startswith("7fe9d86e0fe1c6d4")
    assert source_at("s3://bucket/a.mp4").id.startswith("fd373ff61094d28c")
    assert source_at("ytsearch5:cats").id.startswith("df1f376c1b1db0cb")


TEXTS = st.text(max_size=40) | st.builds(
    "".join,
    st.lists(st.sampled_from(["s3://", "https://", "file:", "ytsearch3:", "/", "..", "a", "\0", "\udcff", " ", "#"])),
)


@given(TEXTS)
def test_any_text_is_a_source_that_stands_for_itself(text: str) -> None:
    source = source_at(text, '{"title":"x"}')
    assert source_at(source.location, source.given) == source
    assert source.kind == kind_of(source.location)
    assert source.kind != "file" or os.path.isabs(source.location)
    source.location.encode()
    assert {pickle.loads(pickle.dumps(source)), source} == {source}
