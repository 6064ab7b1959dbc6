"""Registers: small records that writers on many machines change together, such as what a host has been asked.

A register is a folder of numbered records. A change reads the newest, and creates the next number with a conditional
create, so that of two writers one is first and the other applies its change to what the first wrote.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping

from storage.keys import JSON
from storage.root import Root
from storage.sealing import read_schema, seal, unseal

SCHEMA = 1
# A writer that slept through so many changes between its read and its create would change nothing, unnoticed.
_KEPT = 32
_log = logging.getLogger(__name__)

Record = Mapping[str, JSON]


def read_register(root: Root, folder: str) -> dict[str, JSON]:
    """The newest record, empty where there is none. A damaged one counts as empty: what it held is advice."""
    return _newest(root, folder)[1]


def change_register(root: Root, folder: str, change: Callable[[Record], Record]) -> dict[str, JSON]:
    """Apply a pure change to the newest record and store the result; returns what stands then."""
    while True:
        number, current = _newest(root, folder)
        changed = dict(change(current))
        if changed == current:
            return current
        # Two writers may write the same, and a store that lost its answer takes equal bytes for the same writer's.
        record = {**changed, "schema": SCHEMA, "writer": secrets.token_hex(8)}
        if root.create_bytes(f"{folder}/{number + 1}.json", seal(record)):
            root.remove_many([f"{folder}/{old}.json" for old in _numbers(root, folder) if old <= number + 1 - _KEPT])
            return changed


def _newest(root: Root, folder: str) -> tuple[int, dict[str, JSON]]:
    for number in reversed(_numbers(root, folder)):
        try:
            record, schema = read_schema(root.read_bytes(f"{folder}/{number}.json"))
            plain = unseal(record)
            if schema != SCHEMA:
                raise ValueError(f"schema {schema}")
            return number, {name: value for name, value in plain.items() if name not in ("schema", "writer")}
        except FileNotFoundError:
            continue  # another writer has cleaned up
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("%s/%d.json is damaged (%s); it counts as empty", folder, number, error)
            return number, {}
    return 0, {}


def _numbers(root: Root, folder: str) -> list[int]:
    stems = [name.removesuffix(".json") for name in root.names(folder) if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())
