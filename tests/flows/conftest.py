"""A Prefect server of the tests' own, and small videos for real runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil
import pytest
from filelock import FileLock
from prefect.client.base import PrefectHttpxSyncClient

from tasks.world.config import WorldConfig
from tasks.world.write import write_videos
from tests.ports import free_port

_START_SECONDS = 180
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class Server:
    """A running Prefect server, its home, and the environment that points a process at it."""

    url: str
    home: Path
    environment: Mapping[str, str]

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    @cached_property
    def _client(self) -> PrefectHttpxSyncClient:
        """Prefect's own: on a busy SQLite its server answers 503, and that is asked again."""
        return PrefectHttpxSyncClient(base_url=self.api, timeout=30)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(f"/{path}", json=body).json()

    def get(self, path: str) -> Any:
        return self._client.get(f"/{path}").json()

    def start(self, name: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start the deployment of a flow as the UI does; returns the flow run's id."""
        deployment = self.get(f"deployments/name/{name}/{name}")
        body = {"parameters": dict(parameters or {}), "state": {"type": "SCHEDULED"}}
        return str(self.post(f"deployments/{deployment['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        return str(self.get(f"flow_runs/{run}")["state_type"])

    def wait(self, run: str, seconds: float = 240) -> str:
        """The final state of a flow run."""
        wait_until(lambda: self.state(run) in FINAL, seconds)
        return self.state(run)

    def logs(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
        return found

    def task_runs(self, run: str) -> list[dict[str, Any]]:
        body = {"task_runs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        found: list[dict[str, Any]] = self.post("task_runs/filter", body)
        return found


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true in {seconds} s"
        time.sleep(0.25)


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended with everything that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in family:
            if child.is_running():
                child.kill()


def prefect_environment(home: Path) -> dict[str, str]:
    """An environment with a Prefect home of its own and no server configured."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return environment | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(_START_SECONDS),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's database as it is when it was made: its migrations take ten seconds, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-database"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            making = home.with_suffix(".making")
            subprocess.run(command, env=prefect_environment(making), check=True, stdout=subprocess.DEVNULL)
            making.rename(home)
    return home / "prefect.db"


@pytest.fixture(scope="session")
def prefect_home(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("prefect-home")
    shutil.copy(database, home)
    return home


@pytest.fixture(scope="session")
def tritrack(prefect_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line program with Prefect's ephemeral server; returns the finished process."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        variables = prefect_environment(prefect_home) | environment
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=280)

    return call


@pytest.fixture(scope="session")
def harness(database: Path) -> Iterator[None]:
    """Flows called in this process find a Prefect server of their own: seconds less a run than a process each."""
    from prefect.testing.utilities import prefect_test_harness

    def folder() -> str:
        place = tempfile.mkdtemp()
        shutil.copy(database, Path(place) / "prefect-test.db")
        return place

    with (
        mock.patch("prefect.testing.utilities.mkdtemp", folder),
        prefect_test_harness(server_startup_timeout=_START_SECONDS),
    ):
        yield


@pytest.fixture(scope="module")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tritrack server` on a free port, with a home of its own."""
    home = tmp_path_factory.mktemp("server")
    shutil.copy(database, home)
    with prefect_server(home) as started:
        yield started


@contextmanager
def prefect_server(home: Path) -> Iterator[Server]:
    """The server behind the fixture, for benchmarks too."""
    home.mkdir(exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = prefect_environment(home) | {"PREFECT_UI_API_URL": f"{url}/api"}
    command = [sys.executable, "-m", "flows.cli", "server", "--port", str(port)]
    with running(command, environment, home / "server.log"):
        wait_until(lambda: answers(f"{url}/api/health"), _START_SECONDS)
        yield Server(url, home, environment | {"PREFECT_API_URL": f"{url}/api"})


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six small generated videos, with labels.parquet."""
    folder = tmp_path_factory.mktemp("clips")
    write_videos(folder, WorldConfig(width=160, height=120, num_frames=48, num_objects=3), 3, 6, workers=1)
    return folder


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Overrides that make every stage take seconds."""
    fields = {
        "track.patch_px": 40,
        "track.working_height_px": 120,
        "track.gap_frames": 12,
        "train.steps": 6,
        "train.pairs_per_batch": 8,
        "train.input_px": 32,
        "train.hard_after_step": 2,
        "train.checkpoint_every_steps": 2,
        "evaluate.bootstrap_samples": 100,
        "evaluate.audit_videos": 0,
    }
    return [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]


def answers(url: str) -> bool:
    """Whether a GET there ends with 200."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
