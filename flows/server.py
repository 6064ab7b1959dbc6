"""Prefect's ephemeral server, ended with its parent: it would outlive a parent that was killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer

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


def start_server() -> None:
    """Use the configured Prefect server, or start the ephemeral one and a guard that ends it with this process.

    The guard comes first, since the server takes seconds to answer and this process may be killed meanwhile; it
    knows the server by a mark in its environment. At a normal exit Prefect itself stops the server, after it has
    sent its last logs and events.
    """
    mark = secrets.token_hex(8)
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, _MARK, mark], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[_MARK] = mark  # for the server alone: what is started later does not carry it
    try:
        with get_client(sync_client=True):  # starts the ephemeral server where PREFECT_API_URL is not set
            server = SubprocessASGIServer().server_process
    finally:
        del os.environ[_MARK]
    if server is None:
        guard.kill()
        guard.communicate()
    else:
        _guards.append(guard)


_guards: list[subprocess.Popen[bytes]] = []  # held to the process's end, which closes their input
