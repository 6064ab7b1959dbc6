"""The flow run that this process is in."""

from __future__ import annotations

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext


def this_flow_run() -> FlowRun | None:
    """As it was when it began; None outside of flows."""
    context = FlowRunContext.get()
    return context.flow_run if context else None
