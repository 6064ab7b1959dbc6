"""The Ray cluster that work runs on: that of RAY_ADDRESS, or one of this process's own on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

# No telemetry, no advice about versions to come, and Train of today.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "1", "RAY_DISABLE_IMPORT_WARNING": "1"}
# A head that has just started answers its first client at ray:// too late: the server that it starts for each of them
# is given 30 s.
_ATTEMPTS = 3
# A cluster of our own is for those who know its token. The last one makes Ray talk over the loopback alone, on any
# system; it cannot be told in another way.
_OWN = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_log = logging.getLogger(__name__)


def prepare() -> None:
    """Set what Ray reads from the environment as it is imported: call it before that."""
    os.environ.update(_SETTINGS)
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.update(_OWN)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the user's home


@contextlib.contextmanager
def connected(least_cpus: int, **settings: Any) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or to one of our own on this machine with so many CPUs or more.

    A cluster of our own listens on the loopback alone, has no dashboard, and ends with the block or this process.
    `settings`: arguments of `ray.init`. It takes SIGTERM for itself, by which Prefect cancels a run: who listened to
    that before does so again. Raises ValueError, in one line, where the cluster of RAY_ADDRESS does not answer.
    """
    prepare()
    with contextlib.ExitStack() as stack:
        address = os.environ.get("RAY_ADDRESS") or stack.enter_context(_own_cluster(least_cpus))
        _connect(address, settings)
        import ray

        stack.callback(ray.shutdown)
        yield


def _connect(address: str, settings: dict[str, Any]) -> None:
    import ray

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        for left in reversed(range(_ATTEMPTS)):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **settings)
                return
            except ConnectionError as error:
                words = str(error).strip().split("\n")[0].rstrip(":")
                if not left:
                    raise ValueError(f"RAY_ADDRESS: no Ray cluster answers at {address} ({words})") from error
                _log.warning("the Ray cluster at %s does not answer (%s), it is asked again", address, words)
    finally:
        if is_main and callable(before):
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _own_cluster(least_cpus: int) -> Iterator[str]:
    """The address of a cluster that lasts as long as the block, or this process."""
    cpus = max(least_cpus, os.cpu_count() or 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks.ray_head", str(cpus)],
        stdin=subprocess.PIPE,  # never written to: its end tells that we are gone
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
    )
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"ray: a cluster on this machine did not start (exit code {process.wait()})")
        yield address
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
