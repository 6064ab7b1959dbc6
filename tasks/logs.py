"""Logs as JSON, one object a line, where `TRITRACK_LOG=json` asks for them. Needs no Prefect."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

VARIABLE = "TRITRACK_LOG"


def wants_json() -> bool:
    """Whether logs are asked for as JSON. Raises ValueError for a format that there is not."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "text", "json"):
        raise ValueError(f"{VARIABLE}: {asked!r} is unknown; choose text or json")
    return asked == "json"


class JsonLines(JsonFormatter):
    """A record as one line of JSON: time (ISO 8601, UTC), level, logger, message, process (its id), what
    `where_it_runs` adds, and `exc_info`, the trace of an error."""

    def __init__(self) -> None:
        super().__init__(json_ensure_ascii=False)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data |= {"time": moment, "level": record.levelname, "logger": record.name, "message": record.message}
        log_data |= {"process": record.process, **self.where_it_runs(record), **message_dict}

    def where_it_runs(self, record: logging.LogRecord) -> dict[str, str]:
        """Which run a record belongs to; nothing where there is none."""
        return {}


def say(words: str, level: str) -> None:
    """One line of the program itself on standard error, as JSON where that is asked for."""
    if os.environ.get(VARIABLE) == "json":
        record = logging.LogRecord("tritrack", logging.getLevelName(level), "", 0, "%s", (words,), None)
        sys.stderr.write(JsonLines().format(record) + "\n")
    else:
        sys.stderr.write(f"tritrack: {words}\n")


def json_handler() -> logging.Handler:
    """Writes to standard error, for processes without Prefect."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    return handler
