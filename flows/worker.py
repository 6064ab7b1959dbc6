"""The process that runs what the Prefect server has scheduled: it asks several work pools, one a stage."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.deploy import POOLS, find_server


def run_workers(names: Sequence[str], limit: int | None) -> None:
    """Run the flows of these work pools (of all, where none is named), `limit` at once of each, until interrupted.

    An interrupt ends it once the flow runs that it started have ended; a second one ends those too. Raises ValueError
    for an unknown name, and where no server answers.
    """
    unknown = [name for name in names if name not in POOLS]
    if unknown:
        raise ValueError(f"worker: {unknown[0]!r} is unknown; choose of {', '.join(POOLS)}")
    os.environ["PREFECT_API_URL"] = server = find_server()  # for the processes that run the flows
    # Their command is `python`: this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    import anyio
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server}):
        anyio.run(_work, [POOLS[name] for name in names or POOLS], limit)


async def _work(pools: Sequence[str], limit: int | None) -> None:
    import anyio
    from prefect.workers.process import ProcessWorker

    name = f"{socket.gethostname()}-{os.getpid()}"
    async with anyio.create_task_group() as group:
        for pool in pools:
            group.start_soon(ProcessWorker(pool, name=name, limit=limit, create_pool_if_not_found=False).start)
