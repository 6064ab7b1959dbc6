"""The deployments that the Prefect UI shows, who is told of a bad night, and the process that serves them."""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
import zoneinfo
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flows.description import Description
from flows.forms import flatten

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import BlockDocument

_LOCAL_SERVER = "http://127.0.0.1:4200/api"
_AUTOMATION = "tritrack: bad nights"
_SUBJECT = "Tritrack: {{ event.payload.dataset }}, night of {{ event.payload.started[:10] }}"
_BODY = "{{ event.payload.message }}"


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


def serve_deployments(
    description: Description,
    cron: str | None = None,
    timezone: str = "UTC",
    limit: int = 4,
    notify: str | None = None,
) -> None:
    """Register one deployment a flow and run what the UI, a schedule or the CLI starts, until interrupted.

    Forms are filled with the description's values. `cron` schedules `refresh`; runs of it never overlap. `notify`:
    a notification block of the server, "type/name", that is told of marked and failed nights. Raises ValueError for
    a wrong cron line, time zone or block, before anything is registered.
    """
    from prefect import serve
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if cron:
        next_night(cron, timezone)
    server = find_server()
    os.environ["PREFECT_API_URL"] = server  # for the processes that run the flows
    with temporary_settings({PREFECT_API_URL: server}):
        if notify:
            notify_of_bad_nights(notify)
        serve(*make_deployments(description, cron, timezone), limit=limit, pause_on_shutdown=False)


def make_deployments(description: Description, cron: str | None = None, timezone: str = "UTC") -> list[Any]:
    """A deployment each: `pipeline`, its five stages, `refresh`, `ablate` and `compare`."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.ablate import ablate
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
    # A second run is refused at once; waiting for its turn, it would run when the night is over.
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    deployments = []
    for flow in (pipeline, download, track, shard, train, evaluate, refresh, ablate, compare):
        names = flow.parameters.properties
        schedule = Cron(cron, timezone=timezone) if cron and flow is refresh else None
        deployments.append(
            flow.to_deployment(
                name=flow.name,
                description=(flow.description or "").split("\n\n")[0],
                tags=["tritrack", flow.name],
                parameters={name: value for name, value in values.items() if name in names},
                concurrency_limit=alone if flow is refresh else None,
                entrypoint_type=EntrypointType.MODULE_PATH,
                schedule=schedule,
            )
        )
    return deployments


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


def notify_of_bad_nights(block: str) -> None:
    """Let the Prefect server send a message to a notification block at every marked or failed night.

    There is one automation, made anew by a later call; one that was disabled in the UI stays disabled. Raises
    ValueError where the server has no such block.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    from flows.refresh import FAILED_EVENT, MARKED_EVENT

    with get_client(sync_client=True) as client:
        wanted = AutomationCore(
            name=_AUTOMATION,
            description="A message at every marked or failed night; made by `tritrack serve --notify`.",
            trigger=EventTrigger(
                expect={MARKED_EVENT, FAILED_EVENT},
                match=ResourceSpecification({"prefect.resource.id": "tritrack.dataset.*"}),
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[SendNotification(block_document_id=_find_block(client, block), subject=_SUBJECT, body=_BODY)],
        )
        standing = client.read_automations_by_name(_AUTOMATION)
        if not standing:
            client.create_automation(wanted)
            return
        first, *others = standing
        # An update sends only what was set, so that all is set here; and it may not name an owner.
        everything = wanted.model_dump(mode="json", exclude={"owner_resource"}) | {"enabled": first.enabled}
        client.update_automation(first.id, AutomationCore.model_validate(everything))
        for other in others:
            client.delete_automation(other.id)


def _find_block(client: SyncPrefectClient, block: str) -> UUID:
    """The id of a notification block."""
    from prefect.exceptions import ObjectNotFound

    kind, _, name = block.partition("/")
    try:
        found = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        found = None
    if found and "notify" in _capabilities(found):
        return found.id
    known = [one for one in client.read_block_documents(include_secrets=False) if "notify" in _capabilities(one)]
    names = ", ".join(sorted(f"{one.block_type.slug}/{one.name}" for one in known if one.block_type)) or "none"
    what = "is no notification block" if found else "is no block"
    raise ValueError(
        f"notify: {block!r} {what} of this Prefect server; make one in its UI under Blocks, there are: {names}"
    )


def _capabilities(block: BlockDocument) -> list[str]:
    return block.block_schema.capabilities if block.block_schema else []


def _answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
