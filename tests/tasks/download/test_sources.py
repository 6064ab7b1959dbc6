"""Sources: what a list, a folder, a file and a URL name, in an order that says nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.download.sources import Source, read_sources, source_at


def locations(argument: str) -> set[str]:
    return {source.location for source in read_sources(argument)}


def test_a_list_takes_urls_paths_folders_and_comments(tmp_path: Path) -> None:
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.MKV", "deep/notes.txt", ".hidden.mp4"):
        (tmp_path / "clips" / name).touch()
    listed = tmp_path / "list.txt"
    listed.write_text(
        "\ufeff# a comment\n\n  https://example.com/v#t=1 \nsingle.mp4\nclips\n/absent/x.mp4\nhttps://example.com/v#t=1\n"
    )
    assert locations(str(listed)) == {
        "https://example.com/v#t=1",
        str(tmp_path / "single.mp4"),  # it need not exist: that is counted later
        str(tmp_path / "clips" / "a.mp4"),
        str(tmp_path / "clips" / "deep" / "b.MKV"),
        "/absent/x.mp4",
    }
    assert len(read_sources(str(listed))) == 5


def test_order_and_repeats_say_nothing(tmp_path: Path) -> None:
    lines = [f"https://example.com/{number}" for number in range(20)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    random.Random(0).shuffle(lines)
    (tmp_path / "b.txt").write_text("\n".join(lines + lines[:5]))
    assert read_sources(str(tmp_path / "a.txt")) == read_sources(str(tmp_path / "b.txt"))


def test_a_folder_gives_its_video_files(tmp_path: Path) -> None:
    for name in ("x.webm", "y.AVI", "z.jpg", "list.txt", "sub/w.mov", ".git/v.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert {Path(location).name for location in locations(str(tmp_path))} == {"x.webm", "y.AVI", "w.mov"}


def test_one_file_or_one_url(tmp_path: Path) -> None:
    (tmp_path / "odd:name.bin").touch()
    (source,) = read_sources(str(tmp_path / "odd:name.bin"))
    assert (source.kind, source.location) == ("file", str(tmp_path / "odd:name.bin"))
    (source,) = read_sources("https://example.com/watch?v=1")
    assert (source.kind, source.location) == ("url", "https://example.com/watch?v=1")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "javascript:alert(1)", "http://[::1/x"])
def test_odd_schemes_are_urls_that_fail_later(location: str) -> None:
    assert source_at(location).kind == "url"


@pytest.mark.parametrize("argument", ["/no/such/list.txt", "no-such-file.mp4", "", "nul\0byte"])
def test_a_missing_argument_is_one_line_that_names_it(argument: str) -> None:
    with pytest.raises(ValueError, match="does not exist; give a") as caught:
        read_sources(argument)
    assert repr(argument) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(ValueError, match=r"list\.txt' is not UTF-8 text"):
        read_sources(str(tmp_path / "list.txt"))


def test_equal_locations_have_one_id_and_others_do_not() -> None:
    def ids(*urls: str) -> int:
        return len({source_at(url).id for url in urls})

    assert ids("https://Example.com", "https://example.com/", "HTTPS://example.com:443/") == 1
    assert ids("http://example.com:80/a", "http://EXAMPLE.com/a") == 1
    assert ids("https://example.com/a", "https://example.com/A", "http://example.com/a", "https://example.com/a?b") == 4
    assert ids("https://u:P@example.com/", "https://u:p@example.com/") == 2
    assert ids("/a/../b.mp4", "/b.mp4", "/./b.mp4") == 1


def test_an_id_is_golden() -> None:
    """Ids stand in data set versions: a change here would fetch everything again."""
    digest = "20c653445e9a23842d362dbaf0aacb97d9a0f0acb3776d06a750090bf4c1df73"
    assert source_at("https://example.com/watch?v=1") == Source(digest, "https://example.com/watch?v=1", "url")
