"""JSON logs of processes that Prefect configures; see `tasks.logs`.

Prefect sets logging up as it is imported, in every process that it starts, by its own file and by variables that
override single fields of it. These name the two classes below.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from flows.parameters import STAGES
from tasks.logs import VARIABLE, JsonLines

_OVERRIDES = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "flows.logs.RunLines",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.logs.JsonHandler",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
}


def use_json() -> None:
    """Let this process and those that it starts log as JSON; before Prefect is imported."""
    assert "prefect" not in sys.modules, "it has set logging up already"
    os.environ[VARIABLE] = "json"
    apply()


def apply() -> None:
    """As `use_json`, where the environment asks for it already."""
    os.environ.update(_OVERRIDES)


class RunLines(JsonLines):
    """With the ids of the flow run and the task run, and the stage, where there are such."""

    def __init__(self, *_: Any, **__: Any) -> None:  # as logging.config calls it
        super().__init__()

    def where_it_runs(self, record: logging.LogRecord) -> dict[str, str]:
        told = {name: str(value) for name in _IDS if (value := getattr(record, name, ""))}
        context = sys.modules.get("prefect.context")
        if not hasattr(context, "TaskRunContext"):  # Prefect is still being imported
            return told
        from prefect.context import FlowRunContext, TaskRunContext

        flow, task = FlowRunContext.get(), TaskRunContext.get()
        if flow and flow.flow_run:
            told.setdefault("flow_run_id", str(flow.flow_run.id))
        if task:
            told.setdefault("task_run_id", str(task.task_run.id))
        if flow and flow.flow and flow.flow.name in STAGES:
            told["stage"] = flow.flow.name
        return told


_IDS = ("flow_run_id", "task_run_id")  # of a record that Prefect's own run logger made


class JsonHandler(logging.StreamHandler[Any]):
    """In the place of Prefect's console handler, whose styles it takes and does not need."""

    def __init__(self, stream: Any = None, styles: object = None) -> None:
        from prefect.logging.filters import ObfuscateApiKeyFilter

        super().__init__(stream or sys.stderr)
        self.addFilter(ObfuscateApiKeyFilter())
