"""The stack of docker/compose.yaml with processes: a pipeline over two workers, one of which is killed amid it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import s3fs

from storage.root import Root, open_root
from tests.chaos.cycles import make_reference
from tests.chaos.outputs import damages, differences, lost_entries, read_outputs
from tests.chaos.records import DATASET, Place
from tests.chaos.s3 import BUCKET
from tests.chaos.world import NUM_VIDEOS, settings, write_world
from tests.flows.conftest import wait_until
from tests.stack.services import Stack, kill_family, stack
from tests.stored_text import stored_text

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]
_ROOT = f"s3://{BUCKET}/stack"
_WAIT_SECONDS = 600  # for what takes one or two minutes on a quiet machine
_CRASH_SECONDS = 240  # heartbeats come every 30 s, which is the least that Prefect takes, and three must be missed


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The running stack with an empty bucket, and this process as a client of its store."""
    folder = tmp_path / "stack"
    folder.mkdir()
    with stack(folder) as running:
        for name in running.variables:
            if name.startswith("AWS_") or name == "TRITRACK_CACHE":
                monkeypatch.setenv(name, running.variables[name])
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)
        yield running


def test_a_killed_worker_costs_only_what_it_held(services: Stack, tmp_path: Path) -> None:
    """Same bytes as of a run that nobody disturbed, no unit made twice but those in flight, no secret left."""
    world = write_world(tmp_path / "world")
    reference = make_reference(Place(world, tmp_path / "reference", str(tmp_path / "reference" / "root")), "together")
    _deploy(services, world)
    server, root = services.server, open_root(_ROOT)
    with services.worker("pipeline", "download", "shard", "train", "evaluate"):
        with services.worker("track") as tracker:
            run = server.start("pipeline")
            wait_until(lambda: _manifests(root, "track"), _WAIT_SECONDS)
            family = kill_family(tracker)
        committed = {stage: _manifests(root, stage) for stage in ("download", "track")}
        assert len(committed["download"]) == NUM_VIDEOS
        assert 0 < len(committed["track"]) < NUM_VIDEOS, "it was killed amid its work"
        assert len(family) > 2, "with the flow run and its worker processes"
        assert not any(psutil.pid_exists(pid) for pid in family)

        assert server.wait(_newest_run(services, "track"), _CRASH_SECONDS) == "CRASHED"
        assert server.wait(run, _WAIT_SECONDS) == "FAILED"
        with services.worker("track"):
            retried = server.post(
                f"flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
            )
            assert retried["status"] == "ACCEPT", retried
            assert server.wait(run, _WAIT_SECONDS) == "COMPLETED"

    assert differences(reference.outputs, read_outputs(root, DATASET)) == []
    assert lost_entries(root, DATASET) + damages(root) == []
    for stage, before in committed.items():
        assert before.items() <= _manifests(root, stage).items(), "what stood was not made again"
    assert _places_of_secrets(services, root) == []


def test_the_server_answers_nobody_without_the_password(services: Stack) -> None:
    url = services.variables["PREFECT_API_URL"]
    assert httpx.get(f"{url}/health").status_code == 200, "asked by the container's health check"
    assert httpx.post(f"{url}/flow_runs/filter", json={}).status_code == 401
    assert httpx.post(f"{url}/flow_runs/filter", json={}, auth=("tritrack", "wrong")).status_code == 401
    assert services.server.post("flow_runs/filter", {}) == []


def _deploy(services: Stack, world: Path) -> None:
    """Register the deployments, twice: the second time changes nothing."""
    where = ["--root", _ROOT, "--dataset", DATASET, "--sources", str(world), *settings(world, 1)]
    found = []
    for _ in range(2):
        done = services.call("deploy", *where)
        assert done.returncode == 0, done.stderr
        deployments = services.server.post("deployments/filter", {})
        found.append(sorted((one["id"], one["name"], one["work_pool_name"]) for one in deployments))
    assert found[0] == found[1]
    assert len(found[0]) > 5


def _manifests(root: Root, stage: str) -> dict[str, str]:
    """The manifests of a stage, each with the time of its commit."""
    return {
        entry.path: entry.modified.isoformat() for entry in root.walk(stage) if entry.path.endswith("/manifest.json")
    }


def _newest_run(services: Stack, flow: str) -> str:
    body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
    (found,) = services.server.post("flow_runs/filter", body)
    return str(found["id"])


def _places_of_secrets(services: Stack, root: Root) -> list[str]:
    """Where a secret of the stack stands that should stand nowhere: logs, files of Prefect, the database, the store."""
    auth = services.variables["PREFECT_API_AUTH_STRING"]
    marks = (services.secret, base64.b64encode(auth.encode()).decode())
    left = {
        str(path): path.read_bytes().decode(errors="replace") for path in services.folder.rglob("*") if path.is_file()
    }
    left |= {entry.path: stored_text(root.read_bytes(entry.path)) for entry in root.walk("")}
    left |= asyncio.run(_tables(services.database))
    assert len(left["table log"]) > 1000
    return [place for place, text in left.items() if any(mark in text for mark in marks)]


async def _tables(database: Mapping[str, Any]) -> dict[str, str]:
    """Every row of every table of the database, as text."""
    connection = await asyncpg.connect(**database)
    try:
        names = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        return {
            f"table {name}": "\n".join(row[0] for row in await connection.fetch(f'select t::text from "{name}" as t'))
            for (name,) in names
        }
    finally:
        await connection.close()
