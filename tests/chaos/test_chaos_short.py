"""The short form of `make chaos`: a few kills and some dozens of faults, on local disk and S3, with a fixed seed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.cycles import make_reference, run_cycle
from tests.chaos.records import Order, Place
from tests.chaos.world import write_world


@pytest.mark.long
def test_kills_and_faults_change_nothing(
    s3_endpoint: str, s3_root_url: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Outputs as undisturbed, nothing lost, only items in flight done again, no process and no damage left."""
    caplog.set_level(logging.ERROR, "werkzeug")  # the S3 server logs a line a request otherwise
    world = write_world(tmp_path / "world", num_videos=4)
    reference = make_reference(Place(world, tmp_path / "reference", str(tmp_path / "reference" / "root")), "together")
    places = [
        Place(world, tmp_path / "local", str(tmp_path / "local" / "root")),
        Place(world, tmp_path / "s3", s3_root_url(), s3_endpoint),
    ]
    orders = [
        Order("b", "together", {"download": 1, "train": 1}, 0.1),
        Order("b", "together", {"shard": 1}, 0.05),
    ]
    with ThreadPoolExecutor(len(orders)) as pool:  # the one on S3 waits for retries much of its time
        reports = list(pool.map(run_cycle, places, orders, [reference, reference]))
    assert [report.failures for report in reports] == [[], []]
    for report in reports:
        assert report.kills.total() > 0
        assert report.faults.total() > 0
