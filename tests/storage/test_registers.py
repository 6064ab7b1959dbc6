"""Registers: many writers on every kind of root, and what is kept of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from storage.keys import JSON
from storage.registers import change_register, read_register
from storage.root import Root

FOLDER = "state/hosts/a"


def _count(record: Mapping[str, JSON]) -> Mapping[str, JSON]:
    number = record.get("number", 0)
    assert isinstance(number, int)
    return {**record, "number": number + 1}


def test_an_unknown_register_is_empty(root: Root) -> None:
    assert read_register(root, FOLDER) == {}


def test_a_change_that_changes_nothing_writes_nothing(root: Root) -> None:
    assert change_register(root, FOLDER, lambda record: record) == {}
    assert root.names("state/hosts") == []


def test_racing_writers_lose_no_change(root: Root) -> None:
    def write() -> None:
        for _ in range(5):
            change_register(root, FOLDER, _count)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_register(root, FOLDER) == {"number": 30}


def test_old_records_go(root: Root) -> None:
    for _ in range(40):
        change_register(root, FOLDER, _count)
    assert read_register(root, FOLDER) == {"number": 40}
    assert len(root.names(FOLDER)) <= 33


def test_a_damaged_record_counts_as_empty_and_is_written_over(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    change_register(root, FOLDER, _count)
    root.write_bytes(f"{FOLDER}/2.json", b'{"number": 7, "schema": 1, "digest": "no"}')
    assert read_register(root, FOLDER) == {}
    assert "damaged" in caplog.text
    assert change_register(root, FOLDER, _count) == {"number": 1}
    assert read_register(root, FOLDER) == {"number": 1}
