"""JSON logs where Prefect sets logging up: its lines, ours with the run that they belong to, and the program's own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import logging, flows.stage
from prefect.logging import get_logger
logging.getLogger("flows.anything").warning("ours")
get_logger("anything").warning("Prefect's")
logging.getLogger("elsewhere").warning("a library's")
"""


def _told(*command: str, **environment: str) -> tuple[int, list[dict[str, object]]]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TRITRACK_"))}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=variables | environment
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_all_that_prefect_sets_up_writes_json() -> None:
    _, told = _told("-c", _PROGRAM, TRITRACK_LOG="json")
    assert [(line["logger"], line["message"]) for line in told] == [
        ("flows.anything", "ours"),
        ("prefect.anything", "Prefect's"),
        ("elsewhere", "a library's"),
    ]


def test_the_program_s_own_words_are_json_too() -> None:
    code, (line,) = _told("-m", "flows.cli", "status", TRITRACK_LOG="json")
    assert (code, line["level"], line["logger"]) == (2, "ERROR", "tritrack")
    assert str(line["message"]).startswith("root: missing")


def test_an_unknown_format_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "--log-format", "xml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("harness")
def test_a_line_names_the_flow_the_task_and_the_stage() -> None:
    from prefect import flow, task

    from flows.logs import RunLines

    found: list[dict[str, str]] = []

    def look() -> None:
        record = logging.LogRecord("tasks.track", logging.INFO, "", 0, "words", (), None)
        found.append(json.loads(RunLines().format(record)))

    @task(persist_result=False)
    def inner() -> None:
        look()

    @flow(name="track", persist_result=False)
    def outer() -> None:
        look()
        inner()

    look()
    outer()
    outside, in_flow, in_task = found
    assert not {"flow_run_id", "task_run_id", "stage"} & outside.keys()
    assert in_flow["stage"] == in_task["stage"] == "track"
    assert in_flow["flow_run_id"] == in_task["flow_run_id"]
    assert "task_run_id" not in in_flow
    assert in_task["task_run_id"]
