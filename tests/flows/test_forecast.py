"""The forecast: each figure by hand, on a root whose units are made up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from flows.description import Description
from flows.forecast import Asked, Forecast, Line, forecast, show_forecast
from storage.keys import KeyDocument, Recipe
from storage.ledger import UNIT_SCHEMA, StageRun, write_ledger
from storage.manifests import Manifest, commit
from storage.root import Root, RootError, open_root
from storage.versions import (
    Failure,
    ShardEntry,
    SourceEntry,
    UnitEntry,
    Version,
    VideoEntry,
    latest_version,
    update_version,
)
from tasks.presets import RunConfig, sample

HOUR = 3600.0


@dataclass
class Made:
    """A root and what it holds: manifests by stage."""

    root: Root
    units: Mapping[str, list[Manifest]]

    @property
    def version(self) -> Version:
        return latest_version(self.root, "clips")

    def plan(self, asked: Asked, **fields: object) -> Forecast:
        config = RunConfig.model_validate(sample().model_dump() | fields)
        return forecast(self.root, self.version, config, asked)


def _lines(told: Forecast) -> dict[str, Line]:
    return {line.work: line for line in told.lines}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Four videos of 10 to 40 s, a pair each 10 s, 0.5 s of tracking a second; a shard, an index, a training."""
    root = open_root(str(tmp_path / "root"))

    def unit(stage: str, number: int, size: int, seconds: float, device: str = "cpu", **more: object) -> Manifest:
        document = KeyDocument(Recipe(stage, 1), {"number": number})
        files = {"file.bin": bytes(size)}
        return commit(root, document, files, seconds=seconds, device=device, **more)  # type: ignore[arg-type]

    lengths = (10.0, 20.0, 30.0, 40.0)
    downloads = [unit("download", n, 1000 * n, 2.0, counts={"bytes": 1000 * n}) for n in range(1, 5)]
    tracks = [
        unit("track", n, 100, 0.5 * length, counts={"tracks": int(length / 10)}, facts={"seconds": length})
        for n, length in enumerate(lengths)
    ]
    shard = unit("shard", 0, 5000, 20.0, counts={"pairs": 10, "videos": 4})
    index = unit("shard", 1, 500, 1.0, counts={"triplets": 10})
    train = unit("train", 0, 9999, 50.0, counts={"steps": 100}, facts={"network": "small"})
    scores = [unit("evaluate", n, 10, 5.0 * (n + 1)) for n in range(2)]
    failure = Failure("download", "permanent", "gone", "404")
    sources = {
        f"s{n}": SourceEntry(f"https://a.example/{n}.mp4", one.key, video=f"v{n}") for n, one in enumerate(downloads)
    }
    sources["lost"] = SourceEntry("https://b.example/lost.mp4", "k", failure=failure)
    version = Version(
        "clips",
        sources=sources,
        videos={f"v{n}": VideoEntry(one.key, tracks=n + 1) for n, one in enumerate(tracks)},
        shards=(ShardEntry(shard.key, "train", tuple(one.key for one in tracks), 10),),
        units={
            "triplets": UnitEntry(index.key),
            "train": UnitEntry(train.key),
            "evaluate/retrieval": UnitEntry(scores[0].key),
            "evaluate/report": UnitEntry(scores[1].key),
        },
    )
    update_version(root, "clips", lambda _: version)
    return Made(root, {"download": downloads, "track": tracks, "shard": [shard, index], "train": [train]})


def _tell_the_ledger(made: Made, stage: str, beside: float, requests: int) -> None:
    rows = [
        {"stage": stage, "key": one.key, "seconds": one.seconds + beside, "requests": requests, "outcome": "committed"}
        for one in made.units[stage]
    ]
    lost = {"stage": stage, "key": "lost", "seconds": 99.0, "requests": 99, "outcome": "failed"}
    run = StageRun(stage, "clips", "", "", "here", 4, datetime.now(UTC), 1.0, "")
    write_ledger(made.root, run, pa.Table.from_pylist([*rows, lost], UNIT_SCHEMA))


def test_every_work_scales_with_what_it_should(made: Made) -> None:
    told = _lines(made.plan(Asked(videos=4000, workers=8), train={"steps": 1000}))
    assert told["download"].hours.value == pytest.approx(4000 * 0.8 * 2.0 / 4 / HOUR), (
        "a.example is asked by four at once"
    )
    assert told["download"].cpu_hours == pytest.approx(4000 * 2.0 / HOUR)
    assert told["track"].hours.value == pytest.approx(4000 * 25 * 0.5 / 8 / HOUR)
    assert told["shard"].hours.value == pytest.approx(4000 * 2.5 * 2.0 / 8 / HOUR)
    assert told["triplets"].hours.value == pytest.approx(4000 * 2.5 * 0.1 / HOUR)
    assert told["train"].hours.value == pytest.approx(1000 * 0.5 / HOUR)
    assert told["evaluate"].hours.value == pytest.approx(15.0 / HOUR)
    assert [told[work].units for work in told] == [4000, 4000, 63, 1, 1, 2]
    assert told["download"].bytes == pytest.approx(4000 * 2500)
    assert told["track"].bytes == pytest.approx(4000 * 100)
    assert (told["train"].bytes, told["evaluate"].bytes) == (9999, 20)
    assert {line.requests for line in told.values()} == {None}, "the ledger knows nothing"


def test_twice_as_long_videos_cost_twice_where_length_counts(made: Made) -> None:
    one, two = (made.plan(Asked(1000, 1, minutes=minutes)) for minutes in (1.0, 2.0))
    first, second = _lines(one), _lines(two)
    ratio = {work: second[work].hours.value / first[work].hours.value for work in first}
    assert ratio == pytest.approx({"download": 1, "track": 2, "shard": 2, "triplets": 2, "train": 1, "evaluate": 1})
    assert second["download"].bytes == pytest.approx(2 * first["download"].bytes)


def test_the_ledger_adds_what_its_units_cost_beside_their_work(made: Made) -> None:
    for stage, beside, requests in (("download", 1.0, 6), ("track", 0.5, 4), ("train", 9.0, 32)):
        _tell_the_ledger(made, stage, beside, requests)
    told = _lines(made.plan(Asked(100, 1)))
    assert told["track"].cpu_hours == pytest.approx(100 * (12.5 + 0.5) / HOUR)
    assert told["download"].cpu_hours == pytest.approx(100 * 3.0 / HOUR)
    assert (told["download"].requests, told["track"].requests, told["train"].requests) == (600, 400, 32)
    assert told["train"].cpu_hours == pytest.approx(4 * (1200 * 0.5 + 9) / HOUR), "the machine had four cores"
    assert told["shard"].requests is None
    assert "4 units, 4 in the ledger, median 2 s" in told["download"].measured


def test_hosts_bound_a_download(made: Made) -> None:
    """Four in five sources are one host's."""
    hourly = made.plan(Asked(1000, 64), download={"per_host_hour": 100})
    assert _lines(hourly)["download"].hours.value == pytest.approx(8.0)
    assert any(
        "80% of the sources are a.example's, as here: 4 at once, 100 an hour" in one for one in hourly.assumptions
    )
    slow = made.plan(Asked(1000, 64), download={"pause_seconds": 9.0})
    assert _lines(slow)["download"].hours.value == pytest.approx(800 * 9.0 / HOUR)


def test_videos_that_are_dropped_once_tracked_take_no_room(made: Made) -> None:
    told = made.plan(Asked(1000, 1), execution={"keep_videos": "until_tracked"})
    assert _lines(told)["download"].bytes == 0


def test_prices_make_costs_and_a_gpu_changes_what_ran_on_one(made: Made) -> None:
    document = KeyDocument(Recipe("train", 1), {"number": 7})
    on_gpu = commit(made.root, document, {"file.bin": b"x"}, seconds=50.0, device="cuda:0", counts={"steps": 100})
    without = made.plan(Asked(1000, 1, gpus=2, price_gpu_hour=3.0))
    assert "GPU" not in {name for name, cost in without.costs.items() if cost}
    assert any("--gpus and a GPU's price change nothing" in one for one in without.assumptions)
    units = {**made.version.units, "train": UnitEntry(on_gpu.key)}
    update_version(made.root, "clips", lambda version: replace(version, units=units))
    told = made.plan(Asked(1000, 1, gpus=2, price_cpu_hour=1.0, price_gpu_hour=3.0, price_gb_month=500.0))
    line = _lines(told)["train"]
    assert (line.hours.value, line.gpu_hours, line.cpu_hours) == pytest.approx((300 / HOUR, 600 / HOUR, 0.0))
    assert told.costs == {
        "CPU": round(told.cpu_hours, 2),
        "GPU": round(3 * 600 / HOUR, 2),
        "storage a month": round(told.bytes / 1e9 * 500, 2),
    }


def test_what_was_not_measured_is_missing_and_said(made: Made) -> None:
    update_version(made.root, "clips", lambda version: replace(version, units={}, shards=()))
    told = made.plan(Asked(1000, 1))
    assert told.missing == ("shard", "triplets", "train", "evaluate")
    assert set(_lines(told)) == {"download", "track"}
    console = Console(file=StringIO(), width=150)
    show_forecast(Description(made.root.url, "clips", "", sample()), Asked(1000, 1), console, as_json=False)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count("not measured here") == 4
    assert "1 of 5 sources gave no video here" in printed


def test_a_root_without_measurements_is_refused_in_one_line(tmp_path: Path) -> None:
    root = open_root(str(tmp_path))
    with pytest.raises(RootError, match="has measured nothing yet") as refused:
        forecast(root, Version("clips"), sample(), Asked(10, 1))
    assert "\n" not in str(refused.value)


def test_another_data_set_is_named(made: Made) -> None:
    with pytest.raises(RootError, match="there are: clips"):
        show_forecast(Description(made.root.url, "films", "", sample()), Asked(1, 1), Console(), as_json=False)


def test_the_command_prints_json_and_imports_nothing_heavy(made: Made) -> None:
    program = (
        "import sys, json; from flows.cli import app; "
        f"app(['plan', '--root', {made.root.url!r}, '-d', 'clips', '--videos', '100', '--workers', '2', '--json'], "
        "standalone_mode=False); "
        "sys.stderr.write(','.join(m for m in ('prefect', 'torch', 'cv2', 'ray', 'sklearn') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["asked"]["videos"] == 100
    assert told["hours"] == pytest.approx(sum(line["hours"]["value"] for line in told["lines"]))
    assert told["assumptions"]
