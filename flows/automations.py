"""What the Prefect server does by itself: it marks runs that died, and tells of bad nights."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flows.refresh import FAILED_EVENT, MARKED_EVENT

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import BlockDocument
    from prefect.events.schemas.automations import AutomationCore

BAD_NIGHTS, DEAD_RUNS = "tritrack: bad nights", "tritrack: dead runs"
HEARTBEATS_MISSED = 3
_SUBJECT = "Tritrack: {{ event.payload.dataset }}, night of {{ event.payload.started[:10] }}"
_BODY = "{{ event.payload.message }}"


def crash_dead_runs(seconds: float) -> None:
    """Let the server mark a run as Crashed whose heartbeat has been missing for so long: its process or machine died.

    One that has ended is never marked: the server refuses to crash it, should its last heartbeat arrive late.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    _put(
        AutomationCore(
            name=DEAD_RUNS,
            description="Marks a flow run as Crashed whose heartbeat stopped; made by `tritrack deploy`.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.*"},  # a change of its state, whatever its name, is a sign of life too
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=seconds),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message="its heartbeat stopped: its process or machine died; retry it, and it goes on from "
                    "what is committed",
                )
            ],
        )
    )


def notify_of_bad_nights(block: str) -> None:
    """Let the server send a message to a notification block, "type/name", at every marked or failed night.

    Raises ValueError where the server has no such block.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    with get_client(sync_client=True) as client:
        block_id = _find_block(client, block)
    _put(
        AutomationCore(
            name=BAD_NIGHTS,
            description="A message at every marked or failed night; made by `tritrack deploy --notify`.",
            trigger=EventTrigger(
                expect={MARKED_EVENT, FAILED_EVENT},
                match=ResourceSpecification({"prefect.resource.id": "tritrack.dataset.*"}),
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[SendNotification(block_document_id=block_id, subject=_SUBJECT, body=_BODY)],
        )
    )


def _put(wanted: AutomationCore) -> None:
    """Create an automation, or make the one of its name anew; one that was disabled in the UI stays disabled."""
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore

    with get_client(sync_client=True) as client:
        standing = client.read_automations_by_name(wanted.name)
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
