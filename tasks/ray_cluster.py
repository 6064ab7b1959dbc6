"""The Ray cluster that work runs on: that of RAY_ADDRESS, or one of this process's own on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from typing import Any

# No telemetry, no advice about versions to come, and Train of today.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
# By this Ray talks over the loopback alone, on any system; it cannot be told in another way.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_STORE_BYTES = 80_000_000  # near the least that Ray takes; only lines of text pass through it


def prepare() -> None:
    """Set what Ray reads from the environment as it is imported: call it before that."""
    os.environ.update(_SETTINGS if os.environ.get("RAY_ADDRESS") else _SETTINGS | _LOOPBACK)


def connect(least_cpus: int, scratch: str, **settings: Any) -> None:
    """To the cluster of RAY_ADDRESS, or to one of our own with so many CPUs or more, whose files are below `scratch`.

    A cluster of our own listens on the loopback alone, has no dashboard, and ends with `ray.shutdown` or this
    process. `settings`: more arguments of `ray.init`. It takes SIGTERM for itself, by which Prefect cancels a run: who
    listened to that before does so again. Raises ValueError, in one line, where the cluster of RAY_ADDRESS does not
    answer.
    """
    prepare()
    import ray

    address = os.environ.get("RAY_ADDRESS")
    settings = {"log_to_driver": False, "logging_level": logging.ERROR} | settings
    if not address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the user's home
        cpus = max(least_cpus, os.cpu_count() or 1)
        settings |= {"address": "local", "num_cpus": cpus, "object_store_memory": _STORE_BYTES}
        settings |= {"include_dashboard": False, "_temp_dir": scratch}
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**settings)
    except ConnectionError as error:
        raise ValueError(f"RAY_ADDRESS: no Ray cluster answers at {address} ({_first_line(error)})") from error
    finally:
        if is_main and callable(before):
            signal.signal(signal.SIGTERM, before)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
