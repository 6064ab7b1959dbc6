"""List files: four formats and their faults, each told in one line with the row's number."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.download.sources import read_sources

URL = "https://e.com/"


def given(path: Path) -> dict[str, Any]:
    """What the list says of each source, by location."""
    return {source.location: json.loads(source.given or "{}") for source in read_sources(str(path))}


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


SAID = {"title": "A, b", "licence": "CC BY", "duration_seconds": 83.0, "height_px": 720, "split": "train"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'URL,Title,License,duration,height,split\r\nhttps://E.com,"A, b",CC BY,1:23,720p,train\r\n\r\n'),
        ("b.csv", 'sep=;\nlink;title;licence;duration;height;split\nhttps://E.com;"A, b";CC BY;83;720;train\n'),
        ("c.csv", "\n\nurl;title;licence;duration;height;split\nhttps://E.com;A, b;CC BY;83.0;720.0;train;;\n"),
        ("d.tsv", "title\turi\tlicence\tduration\theight\tsplit\nA, b\thttps://E.com\tCC BY\tPT1M23S\t720\ttrain\n"),
        (
            "e.jsonl",
            '{"url":"https://E.com","title":"A, b","license":"CC BY","duration":83,"height":720,"split":"train"}',
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gzip"])
def test_every_format_says_the_same(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    data = gzip.compress(content.encode(), mtime=0) if encoding == "gzip" else content.encode(encoding)
    path = written(tmp_path / (f"{name}.gz" if encoding == "gzip" else name), data)
    assert given(path) == {URL: SAID}


def test_parquet_says_it_too(tmp_path: Path) -> None:
    table = pa.table(
        {
            "video": pa.array([b"\0" * 1000, None], pa.binary()),  # never read
            "Video_URL": pa.array(["https://E.com", "https://e.com/2"]).dictionary_encode(),
            "title": ["A, b", None],
            "licence": ["CC BY", ""],
            "duration": pa.array([timedelta(seconds=83), None], pa.duration("ns")),
            "height": pa.array([720.0, float("nan")]),
            "split": ["train", None],
            "tags": [["a"], None],
            "taken": pa.array([None, datetime(2020, 1, 2)], pa.timestamp("ns")),
            "price": pa.array([None, Decimal("1.50")]),
            "is_new": [None, True],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    second = {"taken": "2020-01-02 00:00:00.000000000", "price": "1.50", "is_new": True}
    assert given(tmp_path / "a.parquet") == {URL: SAID, "https://e.com/2": second}


def test_a_record_of_yt_dlp_names_its_page_not_its_media(tmp_path: Path) -> None:
    record = {
        "id": "BaW_jenozKc",
        "webpage_url": "https://www.youtube.com/watch?v=BaW_jenozKc",
        "url": "https://r1.googlevideo.com/videoplayback?expire=1&sig=SECRET",
        "uploader": None,
        "channel": "Someone",
        "age_limit": 0,
        "formats": [{"url": "x"}],
        "big": 2**60,
    }
    path = written(tmp_path / "a.ndjson", json.dumps(record) + "\n\n" + json.dumps("https://e.com/2"))
    found = given(path)
    assert set(found) == {record["webpage_url"], "https://e.com/2"}
    said = found[str(record["webpage_url"])]
    assert said.pop("url").endswith("***")  # a signed address is a secret
    assert said == {"id": "BaW_jenozKc", "uploader": "Someone", "age_limit": 0, "big": str(2**60)}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "clip\nhttps://e.com/1,2\n", {"https://e.com/1,2"}),  # one column under any name
        ("b.csv", "https://e.com/1\nhttps://e.com/2\n", {"https://e.com/1", "https://e.com/2"}),  # or under none
        ("c.tsv", '"https://e.com/1"\n', {"https://e.com/1"}),
        ("d.jsonl", '{"clip": "https://e.com/1"}\n{"page": "https://e.com/2"}', {"https://e.com/1", "https://e.com/2"}),
        ("e.txt", "\ufeffhttps://e.com/1\r\n\ufeffhttps://e.com/2\r#x\r", {"https://e.com/1", "https://e.com/2"}),
        ("f.csv", "", set()),
        ("g.csv", "url,title\n", set()),
        ("h.txt", "\n# nothing\n", set()),
    ],
)
def test_small_lists(name: str, content: str, expected: Iterable[str], tmp_path: Path) -> None:
    assert set(given(written(tmp_path / name, content))) == expected


def test_a_column_of_paths_starts_from_the_list(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "b.mp4").touch()
    path = written(tmp_path / "a.csv", "file,licence\na.mp4,CC0\nclips,CC BY\n")
    expected = {str(tmp_path / "a.mp4"): {"licence": "CC0"}, str(tmp_path / "clips" / "b.mp4"): {"licence": "CC BY"}}
    assert given(path) == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "name,title\nx,y\n", "names no location column; its columns are name, title; call the one"),
        (
            "b.csv",
            'url,title\nhttps://e.com,a\nhttps://e.com/2,"b\nc\n',
            r", line 3: no CSV \(unexpected end of data\)",
        ),
        ("c.csv", "url,title\nhttps://e.com,a,b\n", ", line 2: 3 fields, where the first row names 2"),
        ("d.csv", "url,title\n,a\n", ", line 2: nothing in 'url', where its location belongs"),
        ("e.csv", 'sep=;\nurl;title\n"a\n', r", line 3: no CSV"),
        ("f.csv", "\0,b\nx", r"its columns are \(no name\), b; call"),
        ("g.csv", "x" * 200_000 + ",b\n", r", line 1: no CSV \(field larger than"),
        ("h.csv", "url,title\nhttps://e.com," + "x" * 200_000, r", line 2: no CSV \(field larger than"),
        ("i.jsonl", '{"url": "https://e.com"}\n{"url": ', r", line 2: no JSON \(Expecting value"),
        ("j.jsonl", "[1]\n", ", line 1: neither an object nor a string"),
        ("k.jsonl", '\n{"name": 1, "title": 2}\n', ", line 2: no location; its fields are name, title"),
        ("l.jsonl", '{"url": 7}\n', ", line 1: nothing in 'url'"),
        ("m.jsonl", "{}\n", ", line 1: no location"),
        ("n.jsonl", '{"url":' * 100_000, ", line 1: no JSON"),
        ("o.jsonl", '{"url": "x", "n": ' + "9" * 10_000 + "}", ", line 1: no JSON"),
        ("p.txt", b"https://e.com\ncaf\xe9.mp4\n", r" is not UTF-8 text \(line 2\); save it as UTF-8"),
        ("q.txt", b"\x00\xff\xfe\x80", r"q.txt' is not UTF-8 text"),
        ("r.csv", "url,title\nhttps://e.com,a\n".encode("utf-16-le"), "looks like UTF-16 without a byte order mark"),
        ("s.csv", b"\xff\xfeu\0r\0l", r" is not UTF-16 text after line 0 \(truncated data\)"),
        ("t.txt.gz", gzip.compress(b"https://e.com\n" * 100, mtime=0)[:-9], "is no whole gzip file"),
        ("u.parquet", b"PAR1 nothing PAR1", "is no Parquet table that can be read|cannot be read"),
        ("v.parquet", b"", "is no Parquet table that can be read"),
        ("w.xlsx", b"PK", "is not read as a list; save it as .csv"),
        ("x.json", "[]", "is not read as a list; write it as JSON Lines"),
    ],
)
def test_a_bad_list_is_told_in_one_line(name: str, content: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_sources(str(written(tmp_path / name, content)))
    assert str(caught.value).startswith(f"sources: '{tmp_path / name}'")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_bad_parquet_tables_are_told_too(tmp_path: Path) -> None:
    def told(**columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=r"a\.parquet'") as caught:
            read_sources(str(tmp_path / "a.parquet"))
        return str(caught.value).partition("a.parquet'")[2]

    assert told(name=["x"], title=["y"]).startswith(" names no location column; its columns are name, title;")
    assert told(url=[["x"]], title=["y"], n=[1]).startswith(" names no location column; its columns are url, title, n")
    assert told(url=["x"] * 5000 + [None], title=["y"] * 5001).startswith(", row 5001: nothing in 'url'")


def test_a_line_without_end_costs_its_own_source_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.download.lists._MAX_LINE", 8192)
    path = written(tmp_path / "a.txt", "https://e.com/1\n" + "x" * 50_000 + "\nhttps://e.com/2")
    dead, *rest = sorted(read_sources(str(path)), key=lambda source: source.location, reverse=True)
    assert dead.location.startswith("unusable:")
    assert [source.location for source in rest] == ["https://e.com/2", "https://e.com/1"]
    with pytest.raises(ValueError, match=", line 2: over 8192 characters"):
        read_sources(str(written(tmp_path / "a.jsonl", '"https://e.com/1"\n"' + "x" * 50_000 + '"')))
