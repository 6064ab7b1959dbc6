"""Tables: equal rows give equal bytes, and other readers read them."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import pandas
import pyarrow as pa
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit
from storage.root import Root
from storage.tables import read_table, table_bytes

SCHEMA = pa.schema([("track", pa.string()), ("box", pa.list_(pa.float32(), 4)), ("jpeg", pa.binary())])
ROWS = [{"track": f"t{number}", "box": [0.5, 1, 2, number], "jpeg": bytes([number])} for number in range(5)]


def test_rows_read_back_whole_or_by_column(root: Root) -> None:
    document = KeyDocument(Recipe("track", 1))
    file = commit(root, document, {"tracks.parquet": table_bytes(ROWS, SCHEMA)}).files["tracks.parquet"]
    assert read_table(root, file).to_pylist() == ROWS
    assert read_table(root, file, ["track"]).to_pylist() == [{"track": row["track"]} for row in ROWS]
    assert read_table(root, file).schema == SCHEMA


def test_equal_rows_give_equal_bytes_and_no_rows_a_table() -> None:
    assert table_bytes(ROWS, SCHEMA) == table_bytes(list(ROWS), SCHEMA)
    assert len(pandas.read_parquet(io.BytesIO(table_bytes([], SCHEMA)))) == 0


def test_pandas_and_duckdb_read_it(tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    path.write_bytes(table_bytes(ROWS, SCHEMA))
    assert pandas.read_parquet(path)["track"].tolist() == [row["track"] for row in ROWS]
    assert duckdb.sql(f"select sum(box[4]) from '{path}'").fetchall() == [(10.0,)]


def test_a_column_that_the_schema_does_not_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="'score'"):
        table_bytes([{**ROWS[0], "score": 1.0}], SCHEMA)
