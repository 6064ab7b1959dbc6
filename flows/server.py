"""Prefect's ephemeral server, ended with its parent: it would outlive a parent that was killed."""

from __future__ import annotations

import subprocess
import sys

from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer

# Waits for the end of its input, which comes when the parent is gone, then ends the server.
_GUARD = """
import os, signal, sys
sys.stdin.buffer.read()
try:
    os.kill(int(sys.argv[1]), signal.SIGTERM)
except ProcessLookupError:
    pass
"""


def start_server() -> None:
    """Use the configured Prefect server, or start the ephemeral one and a guard that ends it with this process.

    At a normal exit Prefect itself stops the server, after it has sent its last logs and events.
    """
    with get_client(sync_client=True):  # starts the ephemeral server where PREFECT_API_URL is not set
        server = SubprocessASGIServer().server_process
    if server is not None:
        command = [sys.executable, "-S", "-c", _GUARD, str(server.pid)]
        _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))


_guards: list[subprocess.Popen[bytes]] = []  # held to the process's end, which closes their input
