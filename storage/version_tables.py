"""The tables of a data set version: sources, videos and shards as Parquet, under their own digest."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import repeat
from typing import Any

import pyarrow as pa
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
        ]
    ),
}
_REPEATING = ["recipe", "origins", "removed", "split", "accepted"]  # long hashes gain nothing from a dictionary

Tables = tuple[dict[str, SourceEntry], dict[str, VideoEntry], tuple[ShardEntry, ...]]


def write_tables(root: Root, current: Version, changed: Version) -> dict[TableName, StoredFile]:
    """Store the tables that differ from the standing version's; returns where all three lie."""
    stored = dict(current.tables)
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


def _write(root: Root, dataset: str, name: TableName, columns: Mapping[str, Sequence[Any]]) -> StoredFile:
    sink = io.BytesIO()
    schema = _SCHEMAS[name]
    repeating = [column for column in _REPEATING if column in schema.names]
    pq.write_table(pa.Table.from_pydict(columns, schema), sink, compression="zstd", use_dictionary=repeating)
    data = sink.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    stored = StoredFile(f"datasets/{dataset}/tables/{name}-{sha256[:16]}.parquet", len(data), sha256)
    root.write_bytes(stored.path, data)
    return stored


def _read(root: Root, file: StoredFile, known: dict[str, str]) -> dict[str, Iterable[Any]]:
    """A table's columns as Python values; one at a time, so that little of the Arrow form is held beside them."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # the others keep what is freed: 130 MB at 100,000 sources
    try:
        table = pq.ParquetFile(io.BytesIO(read_file(root, file)), pre_buffer=False)
        names = table.schema_arrow.names
        return {name: _values(table.read([name], use_threads=False).column(name), known) for name in names}
    finally:
        pa.set_memory_pool(before)


def _values(column: Any, known: dict[str, str]) -> Iterable[Any]:
    if column.null_count == len(column) > 0:
        return repeat(None, len(column))
    values: list[Any] = column.to_pylist()
    if pa.types.is_struct(column.type):
        return [record and Failure(**record) for record in values]
    if column.type == pa.list_(pa.string()):
        return [tuple(known.setdefault(value, value) for value in row) for row in values]
    if column.type == pa.string():
        return [known.setdefault(value, value) for value in values]
    return values


def _entries(kind: type[Any], columns: Mapping[str, Iterable[Any]]) -> Iterable[Any]:
    """Entries from columns in the order of their fields; a column that the table is too old for has its default."""
    return map(kind, *(columns.get(one.name, repeat(one.default)) for one in fields(kind)))
