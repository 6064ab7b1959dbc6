"""Prefect's settings, made before Prefect is imported."""

from __future__ import annotations

import logging
import os

_DEFAULTS = {
    # A fresh Prefect home migrates its database at the first start: 21-28 s on two cores, and the limit is 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Without it the rows of nightly runs are kept for ever.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    # The shortest that Prefect takes: a run whose heartbeat was missing three times is marked as crashed.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "4",  # a stage need not wait 10 s for the worker beside it
    # Storage decides what is done, so Prefect keeps no results; what it does write is JSON, never a pickle.
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks,storage",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # the same work runs without Prefect too
}
LOGGERS = ("flows", "tasks", "storage")


def apply() -> None:
    """Set what the environment does not set already, and let our loggers through to Prefect."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("TRITRACK_LOG") == "json":
        from flows import logs  # not at the top: few ask for it, and every command comes by here

        logs.apply()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)  # Prefect forwards only what the logger itself lets pass
