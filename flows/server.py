"""Prefect's server, with its garbage collected apart (`flows.garbage`): one that listens, and the ephemeral one, which
ends with its parent, whom it would outlive if that was killed, and never before."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_SERVER_API_AUTH_STRING, temporary_settings

_MARK = "TRITRACK_SERVER_OF"
# Waits for the end of its input, which comes when the parent is gone, then ends the server that carries our mark.
# It looks more than once: the parent may have been killed between the server's fork and its exec.
_GUARD = """
import sys, time
import psutil
sys.stdin.buffer.read()
for look in range(10):
    for process in psutil.process_iter():
        try:
            if process.environ().get(sys.argv[1]) == sys.argv[2] and "uvicorn" in process.cmdline():
                process.terminate() if look < 8 else process.kill()
        except psutil.Error:
            continue
    time.sleep(0.25)
"""


def run_server(host: str, port: int) -> None:
    """Become a Prefect server that listens on this address. Its settings are those of `flows.settings`.

    Raises ValueError where others could reach it without a password.
    """
    if not _is_loopback(host) and not PREFECT_SERVER_API_AUTH_STRING.value():
        raise ValueError(
            f"host: others reach {host}, and the server has no password; set PREFECT_SERVER_API_AUTH_STRING to "
            "user:password, and PREFECT_API_AUTH_STRING for its workers"
        )
    api = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/api"
    os.environ.setdefault("PREFECT_UI_API_URL", api)
    server = ["prefect", "server", "start", "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "flows.garbage", *server])


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextmanager
def ephemeral_server() -> Iterator[None]:
    """Start Prefect's ephemeral server, and a guard that ends it with this process; for where none is configured.

    The guard comes first, since the server takes seconds to answer and this process may be killed meanwhile; it
    knows the server by a mark in its environment. At a normal exit Prefect itself stops the server, after it has
    sent its last logs and events. Within the block runs send no heartbeats: nobody who would miss them outlives this
    process, and each flow waits up to a second for their thread to end.
    """
    _Server()
    mark = secrets.token_hex(8)
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, _MARK, mark], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[_MARK] = mark  # for the server alone: what is started later does not carry it
    try:
        get_client(sync_client=True)  # starts it
    finally:
        del os.environ[_MARK]
    _guards.append(guard)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


class _Server(SubprocessASGIServer):
    """The one that Prefect takes from then on, since there is one a process.

    In a session of its own: Ctrl-C reaches all processes of the terminal, and a flow whose server was gone tried for
    two minutes to tell it that it ended.
    """

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        start = subprocess.Popen

        def apart(args: list[str], env: Mapping[str, str]) -> subprocess.Popen[Any]:
            python, option, *server = args
            return start([python, option, "flows.garbage", *server], env=env, start_new_session=True)

        with patch("subprocess.Popen", apart):
            return super()._run_uvicorn_command()


_guards: list[subprocess.Popen[bytes]] = []  # held to the process's end, which closes their input
