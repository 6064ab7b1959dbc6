"""What stands in a stored file, as text to look through."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq


def stored_text(data: bytes) -> str:
    """A file as it stands; of a Parquet table what its cells say, since they are compressed."""
    if data[:4] == b"PAR1":
        return json.dumps(pq.read_table(io.BytesIO(data)).to_pylist(), default=str)
    return data.decode(errors="replace")
