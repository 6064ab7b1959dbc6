"""The deployments that the Prefect UI shows, and all that a server needs for them: work pools, limits, automations."""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.description import Description
from flows.forms import flatten
from flows.parameters import STAGES

if TYPE_CHECKING:
    from rich.console import Console

MAIN_POOL = "tritrack"
POOLS = {"pipeline": MAIN_POOL} | {stage: f"{MAIN_POOL}-{stage}" for stage in STAGES}
"""The work pool of each stage; the flows that start stages, and run none of their work, share one."""

_LOCAL_SERVER = "http://127.0.0.1:4200/api"
# Without a command Prefect first prepares a workspace in processes of its own: 2 s more a run.
_JOBS = {"process": {"command": "python -m prefect.engine"}}
_DEFAULT_LIMITS = {"download": 1, "track": 2, "shard": 1, "train": 1, "evaluate": 2}


@dataclass(frozen=True)
class Serving:
    """How deployments are served.

    `cron` and `timezone`: when `refresh` runs. `notify`: a notification block, "type/name", that is told of marked and
    failed nights. `pool_type`: of work pools that are not there yet. `limits`: runs of a stage at once, on all workers
    together.
    """

    cron: str | None = None
    timezone: str = "UTC"
    notify: str | None = None
    pool_type: str = "process"
    limits: tuple[str, ...] = ()


def deploy(description: Description, serving: Serving, console: Console) -> None:
    """Make a server ready, or renew what an earlier call made: the same call twice changes nothing.

    Forms are filled with the description's values. Raises ValueError for a wrong cron line, time zone, limit or block,
    before anything is registered, and where no server answers.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.automations import HEARTBEATS_MISSED, crash_dead_runs, notify_of_bad_nights

    if serving.cron:
        next_night(serving.cron, serving.timezone)
    limits = read_limits(serving.limits)
    server = find_server()
    os.environ["PREFECT_API_URL"] = server  # for the processes that run the flows
    with temporary_settings({PREFECT_API_URL: server}):
        if serving.notify:
            notify_of_bad_nights(serving.notify)
        if every := PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value():
            crash_dead_runs(HEARTBEATS_MISSED * every)
        made, kinds = make_pools(serving.pool_type)
        for deployment in make_deployments(description, serving, limits, kinds):
            deployment.apply()
            console.print(f"deployment {deployment.name}/{deployment.name}, version {deployment.version}")
    console.print(
        f"{len(POOLS)} work pools ({len(made)} new) at {server}; run `tritrack worker` on each machine that works"
    )


def make_deployments(
    description: Description, serving: Serving, limits: Mapping[str, int], kinds: Mapping[str, str]
) -> list[Any]:
    """A deployment each: `pipeline`, its five stages, `refresh`, `ablate` and `compare`; `kinds`: of the work pools."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.ablate import ablate
    from flows.code import CODE_VARIABLE, code_name, code_version
    from flows.compare import compare
    from flows.download import download
    from flows.evaluate import evaluate
    from flows.pipeline import pipeline
    from flows.refresh import refresh
    from flows.shard import shard
    from flows.track import track
    from flows.train import train

    head = {"root": description.root, "dataset": description.dataset, "sources": description.sources}
    values = head | flatten(description.config)
    code, version = code_name(), code_version()
    # A second night is refused at once; waiting for its turn, it would run when the first is over.
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    deployments = []
    for flow in (pipeline, download, track, shard, train, evaluate, refresh, ablate, compare):
        names, pool = flow.parameters.properties, POOLS.get(flow.name, MAIN_POOL)
        of_stage = ConcurrencyLimitConfig(limit=limits[flow.name]) if flow.name in limits else None
        deployments.append(
            flow.to_deployment(
                name=flow.name,
                version=version,
                description=(flow.description or "").split("\n\n")[0],
                tags=["tritrack", flow.name],
                parameters={name: value for name, value in values.items() if name in names},
                concurrency_limit=alone if flow is refresh else of_stage,
                entrypoint_type=EntrypointType.MODULE_PATH,
                schedule=Cron(serving.cron, timezone=serving.timezone) if serving.cron and flow is refresh else None,
                work_pool_name=pool,
                job_variables={"env": {CODE_VARIABLE: code}, **_JOBS.get(kinds[pool], {})},
            )
        )
    return deployments


def make_pools(kind: str) -> tuple[list[str], dict[str, str]]:
    """The work pools that were not there yet, made, and the types of all; one that stands keeps its type, template and
    limits."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    with get_client(sync_client=True) as client:
        standing = {pool.name: pool.type for pool in client.read_work_pools(limit=200)}
        missing = [pool for pool in POOLS.values() if pool not in standing]
        for pool in missing:
            client.create_work_pool(WorkPoolCreate(name=pool, type=kind, base_job_template=_template(kind)))
    return missing, {pool: standing.get(pool, kind) for pool in POOLS.values()}


def read_limits(given: tuple[str, ...]) -> dict[str, int]:
    """Runs of each stage at once. Raises ValueError for what is no `stage=number`."""
    limits = dict(_DEFAULT_LIMITS)
    for text in given:
        stage, _, number = text.partition("=")
        if stage not in limits or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"limit: {text!r} is no limit; write STAGE=NUMBER, a stage being {', '.join(limits)}")
        limits[stage] = int(number)
    return limits


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
    raise ValueError("PREFECT_API_URL: not set, and no server at 127.0.0.1:4200; run `tritrack server` first")


def next_night(cron: str, timezone: str) -> datetime:
    """When a cron line fires next in a time zone. Raises ValueError, in one line, where it is none or never does."""
    from prefect.schedules import Cron
    from prefect.server.schemas.schedules import CronSchedule

    if timezone not in zoneinfo.available_timezones():
        raise ValueError(f"timezone: {timezone!r} is unknown; give an IANA name such as Europe/Berlin")
    wrong = f"nightly: {cron!r} is no cron line that ever fires; give five fields, such as '0 3 * * *' for 3 o'clock"
    try:
        Cron(cron, timezone=timezone)
        dates = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1))
    except ValueError as error:
        raise ValueError(wrong) from error
    if not dates:
        raise ValueError(wrong)
    return dates[0]


def _template(kind: str) -> dict[str, Any]:
    """The base job template of a type of work pool, as Prefect has it."""
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    template = asyncio.run(get_default_base_job_template_for_infrastructure_type(kind))
    if template is None:
        raise ValueError(
            f"pool-type: {kind!r} is unknown to this Prefect; process and kubernetes are two that it knows"
        )
    return template


def _answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
