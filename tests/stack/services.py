"""The services of docker/compose.yaml as processes of this machine: Postgres, a Prefect server with a password, S3."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.s3 import s3_server, s3_variables
from tests.flows.conftest import Server, answers, prefect_environment, running, wait_until
from tests.ports import free_port

_START_SECONDS = 180
_SETTINGS = {"database": "name"}  # of Prefect, where they are called other than an argument of asyncpg


@dataclass(frozen=True)
class Stack:
    """What runs, and how a client reaches it: `variables` are those of a worker, secrets among them.

    `secret` stands in every secret of the stack; `database` are the arguments of a connection to Postgres.
    """

    server: Server
    folder: Path
    secret: str
    variables: Mapping[str, str]
    database: Mapping[str, Any]

    @contextmanager
    def worker(self, *stages: str) -> Iterator[subprocess.Popen[bytes]]:
        """`tritrack worker STAGE...`, ended with all that it started."""
        log = self.folder / f"worker-{stages[0]}.log"
        with running([sys.executable, "-m", "flows.cli", "worker", *stages], self.variables, log) as process:
            yield process

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line program as a client of the server."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, env=dict(self.variables), capture_output=True, text=True, check=False)


@contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """Start all services, with secrets of their own; ended when left."""
    secret, port = secrets.token_hex(16), free_port()
    auth, url = f"tritrack:{secret}-api", f"http://127.0.0.1:{port}"
    with ExitStack() as entered:
        database = entered.enter_context(_postgres(folder, f"{secret}-database"))
        endpoint = entered.enter_context(s3_server())
        home = folder / "prefect"
        environment = prefect_environment(home)
        serving = {
            "PREFECT_SERVER_API_AUTH_STRING": auth,
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_UI_API_URL": f"{url}/api",
        } | {
            f"PREFECT_SERVER_DATABASE_{_SETTINGS.get(name, name).upper()}": str(value)
            for name, value in database.items()
        }
        command = [sys.executable, "-m", "flows.cli", "server", "--port", str(port)]
        entered.enter_context(running(command, environment | serving, folder / "server.log"))
        wait_until(lambda: answers(f"{url}/api/ready"), _START_SECONDS)
        client = {
            "PREFECT_API_URL": f"{url}/api",
            "PREFECT_API_AUTH_STRING": auth,
            "AWS_SECRET_ACCESS_KEY": f"{secret}-store",
            "TRITRACK_PROXY": f"http://me:{secret}-proxy@127.0.0.1:9",
            "TRITRACK_CACHE": str(folder / "shard-cache"),
            "OMP_NUM_THREADS": "1",  # as in the undisturbed run: weights are the same bytes with as many threads alone
        }
        server = Server(f"http://{auth}@127.0.0.1:{port}", home, environment)
        yield Stack(server, folder, secret, environment | s3_variables(endpoint) | client, database)


def kill_family(process: subprocess.Popen[bytes]) -> list[int]:
    """SIGKILL to a process and all its descendants at once; returns their ids."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        one.send_signal(signal.SIGSTOP)  # so that none starts another meanwhile
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        one.kill()
    process.wait()
    psutil.wait_procs(family, timeout=10)
    return [one.pid for one in family]


@contextmanager
def _postgres(folder: Path, password: str) -> Iterator[dict[str, Any]]:
    """A Postgres of its own on a free port; yields what a connection to it takes.

    Postgres refuses root, so that it runs as its own user then, in a folder that this user reaches.
    """
    port = free_port()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    place = Path(tempfile.mkdtemp(prefix="tritrack-postgres-"))
    try:
        word = place / "password"
        word.write_text(password)
        if user:
            account = pwd.getpwnam("postgres")
            for path in (place, word):
                os.chown(path, account.pw_uid, account.pw_gid)
        data, clean = place / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        make = ["initdb", "-D", str(data), "-U", "prefect", "--auth=scram-sha-256", f"--pwfile={word}", "--no-sync"]
        subprocess.run(make, check=True, cwd=place, env=clean, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={port}", "fsync=off"]
        serve = ["postgres", "-D", str(data), *(part for option in options for part in ("-c", option))]
        with (folder / "postgres.log").open("wb") as log:
            process = subprocess.Popen(serve, cwd=place, env=clean, stdout=log, stderr=log, **user)  # type: ignore[call-overload]
        try:
            wait_until(lambda: _is_open(port), _START_SECONDS)
            yield {"host": "127.0.0.1", "port": port, "database": "postgres", "user": "prefect", "password": password}
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: clients are cut off
            process.wait(60)
    finally:
        shutil.rmtree(place)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
