"""Lists of sources: lines of text, CSV, JSON Lines and Parquet, read row by row; a bad row is told by its number."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tasks.download.columns import MAX_COLUMNS, Layout, given_text, layout, told_columns
from tasks.download.folders import is_video_name

_MAX_LINE = 1 << 24  # characters; yt-dlp's own record of a video with many subtitles takes over a million
_BATCH_ROWS = 4096
_COLUMNS = 2 * MAX_COLUMNS  # of a Parquet table that are read; some of them may be empty
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)  # the line that Excel puts before a table
_NO_DELIMITER = "\x1f"  # of a single column, whose URLs may hold commas
_ESCAPED = re.compile(r"[\udc80-\udcff]")
_LOCATION = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|.*/", re.DOTALL)
_OTHER_LISTS = {
    ".json": "write it as JSON Lines, one object a line, in a .jsonl file",
    ".xls": "save it as .csv",
    ".xlsx": "save it as .csv",
    ".ods": "save it as .csv",
}


class Line(NamedTuple):
    """One row of a list: its number from 1 on, the location as it is written, and `given` (see `Source`)."""

    number: int
    location: str
    given: str = ""


class BadList(ValueError):
    """A list, or a row of one ("line 7"), that cannot be read; the message is to follow the list's name."""

    def __init__(self, words: str, row: str = "") -> None:
        super().__init__(f", {row}: {words}" if row else f" {words}")


def list_format(name: str) -> str:
    """The suffix that a list is read by, `.gz` left out; nothing where the name is not that of a list.

    Raises BadList for a kind of list that is not read, since it would only fail as a video.
    """
    plain = name.lower().removesuffix(".gz")
    suffix = plain[plain.rfind(".") :] if "." in plain.rpartition("/")[2] else ""
    if suffix in _OTHER_LISTS:
        raise BadList(f"is not read as a list; {_OTHER_LISTS[suffix]}")
    compressed = plain != name.lower()
    return suffix if suffix in _READERS and not (compressed and suffix == ".parquet") else ""


def read_lines(path: Path, suffix: str) -> Iterator[Line]:
    """The rows of a list, one after the other, so that its length costs no memory. Raises BadList."""
    try:
        yield from _READERS[suffix](path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadList(f"is no whole gzip file ({error}); copy it again") from error
    except OSError as error:
        raise BadList(f"cannot be read ({error.strerror or _one_line(error)})") from error


def _read_text(path: Path) -> Iterator[Line]:
    for number, text in _text_lines(path):
        location = text.strip().removeprefix("\ufeff")  # where Windows files were put together
        if location and not location.startswith("#"):
            yield Line(number, location)


def _read_csv(path: Path) -> Iterator[Line]:
    return _read_table(path, ",;\t|")


def _read_tsv(path: Path) -> Iterator[Line]:
    return _read_table(path, "\t")


def _read_table(path: Path, delimiters: str) -> Iterator[Line]:
    """A table whose first row names its columns."""
    lines = (_bounded(number, text) for number, text in _text_lines(path))
    before, first = next(((above, text) for above, text in enumerate(lines) if text.strip()), (0, ""))
    if found := _SEPARATOR.fullmatch(first.strip()):
        delimiter, before, head = found[1], before + 1, []
    else:
        delimiter = _delimiter(first, delimiters)
        head = [first]
    rows = _numbered_rows(csv.reader(chain(head, lines), delimiter=delimiter, strict=True), before)
    number, names = next(rows, (0, []))
    if len(names) == 1 and (_LOCATION.match(names[0]) or is_video_name(names[0])):
        rows = chain([(number, names)], rows)  # a bare column of locations
    table = layout(tuple(names))
    if names and table.location is None:
        raise BadList(f"names no location column; its columns are {told_columns(names)}")
    for number, row in rows:
        if any(cell.strip() for cell in row[len(names) :]):
            raise BadList(f"{len(row)} fields, where the first row names {len(names)}", f"line {number}")
        yield _line(number, table, row)


def _numbered_rows(reader: Any, before: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the number of the line that each begins on; `before`: lines above the reader's."""
    while True:
        number = before + reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadList(f"no CSV ({error}); look for a quote that is not closed", f"line {number}") from error
        if any(cell.strip() for cell in row):
            yield number, row


def _delimiter(header: str, delimiters: str) -> str:
    """The first by which a column is a location's, or by which there are columns at all."""
    tables: dict[str, tuple[str, ...]] = {}
    for each in delimiters:
        with suppress(csv.Error):  # such as a NUL: whoever reads the rows says so
            tables[each] = tuple(next(csv.reader([header], delimiter=each), []))
    split = {each: names for each, names in tables.items() if len(names) > 1}
    fitting = (each for each, names in split.items() if layout(names).location is not None)
    return next(fitting, next(iter(split), _NO_DELIMITER))


def _read_json_lines(path: Path) -> Iterator[Line]:
    """An object a line, or a string, which is the location."""
    for number, text in _text_lines(path):
        if not text.strip():
            continue
        try:
            record = json.loads(_bounded(number, text))
        except (ValueError, RecursionError) as error:
            raise BadList(f"no JSON ({error})", f"line {number}") from error
        if isinstance(record, str):
            record = {"url": record}
        if not isinstance(record, dict):
            raise BadList("neither an object nor a string", f"line {number}")
        table = layout(tuple(record))
        if table.location is None:
            raise BadList(f"no location; its fields are {told_columns(table.names)}", f"line {number}")
        yield _line(number, table, tuple(record.values()))


def _read_parquet(path: Path) -> Iterator[Line]:
    """Only the columns that are kept are read: a table may hold whole videos in others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [field.name for field in file.schema_arrow if _is_scalar(field.type)]
            table = layout(tuple(names))
            if table.location is None:
                raise BadList(f"names no location column; its columns are {told_columns(file.schema_arrow.names)}")
            wanted = [names[index] for index in (table.location, *(index for index, _, _ in table.others[:_COLUMNS]))]
            above = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
                table = layout(tuple(batch.schema.names))
                columns = [_as_written(column) for column in batch.columns]
                for number, row in enumerate(zip(*columns, strict=True), above + 1):
                    yield _line(number, table, row, "row")
                above += batch.num_rows
    except pa.ArrowException as error:
        raise BadList(f"is no Parquet table that can be read ({_one_line(error)})") from error


def _is_scalar(kind: Any) -> bool:
    import pyarrow.types as of

    plain = kind.value_type if of.is_dictionary(kind) else kind
    texts = (of.is_string, of.is_large_string, of.is_string_view)
    numbers = (of.is_integer, of.is_floating, of.is_boolean, of.is_decimal, of.is_temporal)
    return any(fits(plain) for fits in (*texts, *numbers))


def _as_written(column: Any) -> list[Any]:
    """A column's values; times as text, since Python's own hold no nanoseconds."""
    import pyarrow as pa
    import pyarrow.types as of

    if of.is_duration(column.type):
        column = column.cast(pa.duration("us"), safe=False)
    elif of.is_temporal(column.type):
        column = column.cast(pa.string())
    return cast(list[Any], column.to_pylist())


def _line(number: int, table: Layout, row: Any, noun: str = "line") -> Line:
    assert table.location is not None
    location = row[table.location] if table.location < len(row) else ""
    if not isinstance(location, str) or not location.strip():
        raise BadList(f"nothing in {table.names[table.location]!r}, where its location belongs", f"{noun} {number}")
    return Line(number, location.strip(), given_text(table, row))


def _bounded(number: int, text: str) -> str:
    if len(text) >= _MAX_LINE:
        raise BadList(f"over {_MAX_LINE} characters", f"line {number}")
    return text


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8 text, or of UTF-16 with its mark (as Excel writes it), numbered from 1; longer ones are cut."""
    with _opened(path) as raw:
        start = raw.read(4096)
        raw.seek(0)
        is_marked = start.startswith((b"\xff\xfe", b"\xfe\xff"))
        if not is_marked and start.count(0) > len(start) // 4:
            raise BadList("looks like UTF-16 without a byte order mark; save it as UTF-8")
        encoding, errors = ("utf-16", "strict") if is_marked else ("utf-8-sig", "surrogateescape")
        text = io.TextIOWrapper(raw, encoding, errors)
        number = 0
        try:
            while line := text.readline(_MAX_LINE):
                number += 1
                if not line.isascii() and _ESCAPED.search(line):
                    raise BadList(f"is not UTF-8 text (line {number}); save it as UTF-8: iconv -f LATIN1 -t UTF-8")
                yield number, line
                while len(line) == _MAX_LINE and not line.endswith("\n"):
                    line = text.readline(_MAX_LINE)
        except UnicodeDecodeError as error:
            raise BadList(f"is not UTF-16 text after line {number} ({error.reason}); save it as UTF-8") from error


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if _is_gzip(path) else path.open("rb"))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


_READERS: dict[str, Callable[[Path], Iterable[Line]]] = {
    ".txt": _read_text,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
