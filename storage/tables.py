"""Tables: Parquet in, Parquet out, with one fixed writer so that equal rows give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.manifests import StoredFile, read_file
from storage.root import Root

_ROW_GROUP_ROWS = 4096


def table_bytes(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Rows as a Parquet file (zstd). Columns that the schema does not name are an error."""
    known = set(schema.names)
    for row in rows[:1]:
        if unknown := set(row) - known:
            raise ValueError(f"columns {sorted(unknown)} are not in the schema {sorted(known)}")
    return parquet_bytes(pa.Table.from_pylist(list(rows), schema=schema))


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file (zstd); the same whether its columns are in one piece or in many."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    return sink.getvalue()


def read_table(root: Root, file: StoredFile, columns: Sequence[str] | None = None) -> pa.Table:
    """A unit's Parquet file, verified against its digest."""
    return table_of(read_file(root, file), columns)


def table_of(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a Parquet file's bytes.

    Read in the calling thread: Arrow's scanner (`pyarrow.parquet.read_table`) may drop the last reference to the
    Python file in a thread of its own after the interpreter has ended, which aborted a third of all short commands.
    """
    with pq.ParquetFile(io.BytesIO(data), pre_buffer=False) as table:
        return table.read(columns=list(columns) if columns else None, use_threads=False)
