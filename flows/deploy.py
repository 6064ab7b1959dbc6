"""The deployments that the Prefect UI shows, and the process that serves them."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import Any

from flows.description import Description
from flows.forms import flatten

_LOCAL_SERVER = "http://127.0.0.1:4200/api"


def find_server() -> str:
    """The Prefect API to register at: the configured one, or a server on this machine's standard port.

    Raises ValueError where there is neither.
    """
    from prefect.settings import PREFECT_API_URL

    configured: str | None = PREFECT_API_URL.value()
    if configured:
        return configured
    if _answers(_LOCAL_SERVER):
        return _LOCAL_SERVER
    raise ValueError("PREFECT_API_URL: not set, and no server at 127.0.0.1:4200; run `prefect server start` first")


def serve_deployments(description: Description, cron: str | None = None, timezone: str = "UTC", limit: int = 4) -> None:
    """Register one deployment a flow and run what the UI, a schedule or the CLI starts, until interrupted.

    Forms are filled with the description's values. `cron` schedules `refresh`; runs of it never overlap.
    """
    from prefect import serve
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server = find_server()
    os.environ["PREFECT_API_URL"] = server  # for the processes that run the flows
    with temporary_settings({PREFECT_API_URL: server}):
        serve(*make_deployments(description, cron, timezone), limit=limit, pause_on_shutdown=False)


def make_deployments(description: Description, cron: str | None = None, timezone: str = "UTC") -> list[Any]:
    """The deployments `pipeline`, `download`, `track`, `shard`, `train`, `evaluate` and `refresh`."""
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.download import download
    from flows.evaluate import evaluate
    from flows.pipeline import pipeline
    from flows.refresh import refresh
    from flows.shard import shard
    from flows.track import track
    from flows.train import train

    head = {"root": description.root, "dataset": description.dataset, "sources": description.sources}
    values = head | flatten(description.config)
    deployments = []
    for flow in (pipeline, download, track, shard, train, evaluate, refresh):
        names = flow.parameters.properties
        schedule = Cron(cron, timezone=timezone) if cron and flow is refresh else None
        deployments.append(
            flow.to_deployment(
                name=flow.name,
                description=(flow.description or "").split("\n\n")[0],
                tags=["tritrack", flow.name],
                parameters={name: value for name, value in values.items() if name in names},
                concurrency_limit=1 if flow is refresh else None,
                entrypoint_type=EntrypointType.MODULE_PATH,
                schedule=schedule,
            )
        )
    return deployments


def _answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
