"""The tables that a data set version is read from: sources, videos and shards as Parquet, under their own digest."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice, repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.manifests import StoredFile, read_file
from storage.root import Root
from storage.versions import Failure, ShardEntry, SourceEntry, TableName, Version, VideoEntry

_FAILURE = pa.struct(
    [
        ("stage", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("words", pa.string()),
        ("attempts", pa.int32()),
        ("time", pa.string()),
        ("settings", pa.string()),
    ]
)
_SCHEMAS: dict[TableName, pa.Schema] = {
    "sources": pa.schema(
        [
            ("id", pa.string()),  # SHA-256 (hex) of the normalised location
            ("location", pa.string()),
            ("key", pa.string()),
            ("recipe", pa.string()),
            ("video", pa.string()),  # SHA-256 (hex) of the bytes
            ("failure", _FAILURE),
            ("origins", pa.list_(pa.string())),
            ("removed", pa.string()),
            ("size", pa.int64()),
            ("given", pa.string()),
            ("listing", pa.string()),
        ]
    ),
    "videos": pa.schema(
        [
            ("video", pa.string()),
            ("key", pa.string()),
            ("recipe", pa.string()),
            ("tracks", pa.int32()),
            ("signature", pa.string()),
            ("group", pa.string()),
            ("split", pa.string()),
            ("failure", _FAILURE),
            ("accepted", pa.string()),
            ("dropped", pa.bool_()),
        ]
    ),
    "shards": pa.schema(
        [
            ("key", pa.string()),
            ("split", pa.string()),
            ("tracks", pa.list_(pa.string())),
            ("pairs", pa.int64()),
            ("recipe", pa.string()),
            ("accepted", pa.string()),
            ("size", pa.int64()),
        ]
    ),
}
_REPEATING = ["recipe", "origins", "removed", "listing", "split", "accepted"]  # a dictionary of hashes gains nothing
_UNIQUE = frozenset({"id", "location", "given", "signature"})  # values that stand in one row alone

Tables = tuple[dict[str, SourceEntry], dict[str, VideoEntry], tuple[ShardEntry, ...]]


def write_tables(root: Root, current: Version, changed: Version) -> dict[TableName, StoredFile]:
    """Store the tables that differ from the standing version's; returns where all three lie."""
    stored: dict[TableName, StoredFile] = {n: file for n, file in current.tables.items() if n != "metadata"}
    if "sources" not in stored or changed.sources != current.sources:
        stored["sources"] = _write(root, changed.name, "sources", _keyed(changed.sources, "sources"))
    if "videos" not in stored or changed.videos != current.videos:
        stored["videos"] = _write(root, changed.name, "videos", _keyed(changed.videos, "videos"))
    if "shards" not in stored or changed.shards != current.shards:
        columns = {name: [getattr(shard, name) for shard in changed.shards] for name in _SCHEMAS["shards"].names}
        stored["shards"] = _write(root, changed.name, "shards", columns)
    return stored


def read_tables(root: Root, tables: Mapping[TableName, StoredFile]) -> Tables:
    """Sources by id, videos by digest, and shards; verified against their digests.

    Raises FileNotFoundError, or RootError or ValueError where a table is not what its name says.
    """
    known: dict[str, str] = {}  # digests stand in several columns: one object each saves a hundred bytes a time
    sources = _read(root, tables["sources"], known)
    videos = _read(root, tables["videos"], known)
    shards = _read(root, tables["shards"], known)
    return (
        dict(zip(sources.pop("id"), _entries(SourceEntry, sources), strict=True)),
        dict(zip(videos.pop("video"), _entries(VideoEntry, videos), strict=True)),
        tuple(_entries(ShardEntry, shards)),
    )


def _keyed(entries: Mapping[str, Any], table: TableName) -> dict[str, Sequence[Any]]:
    first, *names = _SCHEMAS[table].names
    columns: dict[str, Sequence[Any]] = {first: list(entries)}
    for name in names:
        columns[name] = [getattr(entry, name) for entry in entries.values()]
    columns["failure"] = [failure and asdict(failure) for failure in columns["failure"]]
    return columns


def store_table(root: Root, dataset: str, name: TableName, table: pa.Table, repeating: Sequence[str]) -> StoredFile:
    """Store a table of a data set under its own digest; equal rows give equal bytes.

    `repeating`: columns whose values repeat enough for a dictionary.
    """
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", use_dictionary=list(repeating))
    data = sink.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    stored = StoredFile(f"datasets/{dataset}/tables/{name}-{sha256[:16]}.parquet", len(data), sha256)
    root.write_bytes(stored.path, data)
    return stored


def _write(root: Root, dataset: str, name: TableName, columns: Mapping[str, Sequence[Any]]) -> StoredFile:
    schema = _SCHEMAS[name]
    repeating = [column for column in _REPEATING if column in schema.names]
    return store_table(root, dataset, name, pa.Table.from_pydict(columns, schema), repeating)


def _read(root: Root, file: StoredFile, known: dict[str, str]) -> dict[str, Iterable[Any]]:
    """A table's columns as Python values; one at a time, so that little of the Arrow form is held beside them."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # the others keep what is freed: 130 MB at 100,000 sources
    try:
        table = pq.ParquetFile(io.BytesIO(read_file(root, file)), pre_buffer=False)
        names = table.schema_arrow.names
        columns = ((name, table.read([name], use_threads=False).column(name)) for name in names)
        return {name: _values(column, None if name in _UNIQUE else known) for name, column in columns}
    finally:
        pa.set_memory_pool(before)


def _values(column: Any, known: dict[str, str] | None) -> Iterable[Any]:
    """A column as Python values: a value that many rows share is one object, and so is one that is in `known`."""
    if column.null_count == len(column) > 0:
        return repeat(None, len(column))
    if column.type == pa.string() and len(column) and pc.all(pc.equal(column, column[0]), skip_nulls=False).as_py():
        return repeat(column[0].as_py(), len(column))
    if pa.types.is_list(column.type):
        rows = column.combine_chunks()
        values = iter(_values(rows.flatten(), known))
        return [tuple(islice(values, length)) for length in rows.value_lengths().to_pylist()]
    cells: list[Any] = column.to_pylist()
    if pa.types.is_struct(column.type):
        return [record and Failure(**record) for record in cells]
    return list(map(known.setdefault, cells, cells)) if known is not None and column.type == pa.string() else cells


def _entries(kind: type[Any], columns: Mapping[str, Iterable[Any]]) -> Iterable[Any]:
    """Entries from columns in the order of their fields; a column that the table is too old for has its default."""
    return map(kind, *(columns.get(one.name, repeat(one.default)) for one in fields(kind)))
