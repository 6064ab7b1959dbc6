"""Records of nights on every kind of root: kept in order and for good, whatever fsck and gc do around them."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from storage.fsck import check
from storage.gc import collect
from storage.leases import Lease
from storage.nights import Night, read_nights, write_night
from storage.registers import change_register
from storage.root import Root, RootError
from storage.sealing import seal
from tests.storage.small_root import DATASET, SmallRoot

NIGHT = Night(
    "clips",
    "2026-11-03T03:00:00.000001+00:00",
    tried=4,
    kept=3,
    dropped={"gone": 1},
    marks=("a", "b"),
    judged=("kept share",),
)


def test_nights_come_back_in_order_and_whole(root: Root) -> None:
    assert read_nights(root, "clips") == []
    days = [replace(NIGHT, started=f"2026-11-{day:02}T03:00:00.5+00:00", seconds={"track": 0.5}) for day in (9, 10, 2)]
    for night in days:
        assert write_night(root, night).startswith("state/nights/clips/202611")
    assert read_nights(root, "clips") == [days[2], days[0], days[1]]
    assert read_nights(root, "clips", 1) == [days[1]]
    assert read_nights(root, "others") == []


def test_figures_of_an_empty_night_are_unknown() -> None:
    assert (NIGHT.kept_share, NIGHT.tracks_per_minute) == (0.75, None)
    assert (replace(NIGHT, tried=0).kept_share, replace(NIGHT, tracks=6, minutes=1.5).tracks_per_minute) == (None, 4)


def test_a_record_that_cannot_be_read_costs_only_itself(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    write_night(root, NIGHT)
    flipped = seal({"dataset": "clips", "started": "x", "schema": 1}).replace(b"clips", b"clipz")
    root.write_bytes("state/nights/clips/20261104T000000000000Z.json", flipped)
    root.write_bytes("state/nights/clips/20261105T000000000000Z.json", b"{torn")
    root.write_bytes("state/nights/clips/20261106T000000000000Z.json", seal({"schema": 9}))
    with caplog.at_level(logging.WARNING):
        assert read_nights(root, "clips") == [NIGHT]
    told = [record.getMessage() for record in caplog.records if record.name == "storage.nights"]
    assert [line.split(",")[0].split("Z.json ")[1] for line in told] == [
        "is damaged (its content does not match its own digest)",
        "is damaged (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        "is of a newer Tritrack",
    ]


def test_a_bad_name_is_refused(root: Root) -> None:
    with pytest.raises(RootError, match="no data set name"):
        read_nights(root, "../clips")


def test_neither_fsck_nor_gc_minds_a_night_or_a_claim(small: SmallRoot) -> None:
    path = write_night(small.root, replace(NIGHT, dataset=DATASET))
    with Lease(small.root, "run") as lease:
        change_register(small.root, f"state/refresh/{DATASET}", lambda record: {"lease": lease.record.id})
    assert check(small.root).findings == ()
    assert collect(small.root, delete=True, grace_seconds=-5).garbage == ()
    assert small.root.exists(path)
    assert small.root.names(f"state/refresh/{DATASET}") == ["1.json"]
