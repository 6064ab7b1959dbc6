"""Sealed records: JSON that carries the digest of its own content, so that one flipped bit is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from storage.keys import digest_json


def seal(record: Mapping[str, Any]) -> bytes:
    """A record as readable JSON, with its digest as the last field."""
    plain = json.loads(json.dumps(record))  # as a reader will see it: tuples are lists
    return json.dumps({**plain, "digest": digest_json(plain)}, indent=1, ensure_ascii=False).encode()


def read_schema(data: bytes) -> tuple[dict[str, Any], int]:
    """A record and its schema number, before its seal is looked at. Raises ValueError, KeyError or TypeError."""
    record = json.loads(data)
    return record, int(record["schema"])


def schema_number(data: bytes) -> int:
    """The schema number of a record, 0 where it has none or is damaged."""
    try:
        return read_schema(data)[1]
    except (ValueError, KeyError, TypeError):
        return 0


def unseal(record: dict[str, Any]) -> dict[str, Any]:
    """The record without its seal; raises ValueError where that is missing or of other content."""
    plain = {name: value for name, value in record.items() if name != "digest"}
    if record.get("digest") != digest_json(plain):
        raise ValueError("its content does not match its own digest")
    return plain
